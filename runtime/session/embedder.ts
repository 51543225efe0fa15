import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { MusterError } from '../../domain/errors.ts';
import type { Tensor } from '../../domain/inference-protocol/datatypes.ts';
import { invalidInput } from '../../domain/inference-protocol/errors.ts';
import type { EmbeddingInput, Embeddings } from './messages.ts';
import type { OnnxModel } from './onnx.ts';
import { meanPool, normalise } from './pooling.ts';

/** The part of the package's class that is used here; its own types do not resolve under Node's module rules. */
interface TextTokenizer {
  encode(text: string): { readonly ids: readonly number[] };
  get_vocab(): ReadonlyMap<string, number>;
}
const Open = Tokenizer as unknown as new (definition: object, config: object) => TextTokenizer;

/** Texts that go through the model at one time: more pad to the longest of them, fewer waste the call. */
const batchSize = 16;
const maxTokensFallback = 512;

export interface Embedder {
  embed(texts: readonly EmbeddingInput[]): Promise<Embeddings>;
}

interface Parts {
  readonly model: OnnxModel;
  /** The output that is pooled ([texts, tokens, width]) or taken as it is ([texts, width]). */
  readonly output: string;
  readonly padding: number;
}

/** @throws MusterError `model_load_failed` when the tokenizer or the model is not one for text */
export async function openEmbedder(model: OnnxModel, tokenizerFile: string): Promise<Embedder> {
  const definition = await readJson(tokenizerFile);
  const config = await readJson(join(dirname(tokenizerFile), 'tokenizer_config.json'), {});
  const modelConfig = await readJson(join(dirname(tokenizerFile), 'config.json'), {});
  const tokenizer = open(definition, config, tokenizerFile);
  const maxTokens = limit(config['model_max_length'], modelConfig['max_position_embeddings']);
  const padding = (definition['padding'] as { pad_id?: number } | null | undefined)?.pad_id ?? 0;
  const parts = { model, output: outputToPool(model, tokenizerFile), padding };
  const vocabulary = tokenizer.get_vocab().size;
  return {
    embed: (texts) => {
      const ids = texts.map((text, index) =>
        checkLength(
          typeof text === 'string' ? tokenizer.encode(text).ids : checkIds(text, vocabulary),
          maxTokens,
          index,
        ),
      );
      return embedAll(parts, ids);
    },
  };
}

async function embedAll(parts: Parts, ids: readonly (readonly number[])[]): Promise<Embeddings> {
  const vectors: Float32Array[] = [];
  // Longest first, so that texts of like length share a batch and little of it is padding.
  const order = ids.map((_, index) => index).sort((a, b) => (ids[b]?.length ?? 0) - (ids[a]?.length ?? 0));
  for (let start = 0; start < order.length; start += batchSize) {
    const batch = order.slice(start, start + batchSize);
    const pooled = await embedBatch(
      parts,
      batch.map((index) => ids[index] ?? []),
    );
    batch.forEach((index, row) => (vectors[index] = pooled[row] ?? new Float32Array()));
  }
  return { vectors, tokens: ids.reduce((total, list) => total + list.length, 0) };
}

async function embedBatch(
  { model, output, padding }: Parts,
  ids: readonly (readonly number[])[],
): Promise<Float32Array[]> {
  const tokens = Math.max(...ids.map((list) => list.length));
  const values: Record<string, (text: readonly number[], token: number) => number> = {
    input_ids: (text, token) => text[token] ?? padding,
    attention_mask: (text, token) => (token < text.length ? 1 : 0),
    token_type_ids: () => 0,
    position_ids: (_text, token) => token,
  };
  const inputs = model.shape.inputs.map(({ name, datatype }): Tensor => {
    const value = values[name] ?? (() => 0);
    const flat = ids.flatMap((text) => Array.from({ length: tokens }, (_, token) => value(text, token)));
    const common = { name, shape: [ids.length, tokens], parameters: {} };
    return datatype === 'INT32'
      ? { ...common, datatype, data: Int32Array.from(flat) }
      : { ...common, datatype: 'INT64', data: BigInt64Array.from(flat, BigInt) };
  });
  const [hidden] = await model.run(inputs, [output]);
  if (hidden?.datatype !== 'FP32')
    throw new MusterError('inference_failed', `Output '${output}' is not FP32.`);
  const width = hidden.shape.at(-1) ?? 0;
  const lengths = hidden.shape.length === 3 ? ids.map((list) => list.length) : ids.map(() => 1);
  return meanPool(hidden.data, lengths, hidden.shape.length === 3 ? tokens : 1, width).map(normalise);
}

function outputToPool(model: OnnxModel, tokenizerFile: string): string {
  const { inputs, outputs } = model.shape;
  const known = ['input_ids', 'attention_mask', 'token_type_ids', 'position_ids'];
  const strange = inputs.find(({ name }) => !known.includes(name));
  const whole = outputs.find(({ name, shape }) => name === 'sentence_embedding' && shape.length === 2);
  const output = whole ?? outputs.find(({ datatype, shape }) => datatype === 'FP32' && shape.length === 3);
  if (strange === undefined && output !== undefined) return output.name;
  const why =
    strange === undefined
      ? 'has no FP32 output of shape [texts, tokens, width]'
      : `takes '${strange.name}', which is none of ${known.join(', ')}`;
  throw new MusterError(
    'model_load_failed',
    `the model beside ${tokenizerFile} is not a text encoder: it ${why}`,
  );
}

function open(definition: object, config: object, file: string): TextTokenizer {
  try {
    return new Open(definition, config);
  } catch (error) {
    throw new MusterError('model_load_failed', `cannot use ${file}: ${String(error)}`, { cause: error });
  }
}

/** The smaller of the limits that are given; tokenizers without one write a number of 30 digits. */
function limit(...limits: readonly unknown[]): number {
  const given = limits.filter((value) => typeof value === 'number' && value > 0 && value < 1e6) as number[];
  return given.length === 0 ? maxTokensFallback : Math.min(...given);
}

function checkLength(ids: readonly number[], maxTokens: number, index: number): readonly number[] {
  if (ids.length > maxTokens)
    throw invalidInput(
      `This model's maximum context length is ${maxTokens} tokens, but input ${index} has ${ids.length}. Shorten it.`,
    );
  if (ids.length === 0) throw invalidInput(`Input ${index} has no tokens.`);
  return ids;
}

function checkIds(ids: readonly number[], vocabulary: number): readonly number[] {
  const strange = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabulary);
  if (strange !== undefined)
    throw invalidInput(`Token ${strange} is not in the vocabulary of ${vocabulary} tokens.`);
  return ids;
}

async function readJson(file: string, fallback?: object): Promise<Record<string, unknown>> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  } catch (error) {
    if (fallback !== undefined && (error as NodeJS.ErrnoException).code === 'ENOENT') return { ...fallback };
    throw new MusterError('model_load_failed', `cannot read ${file}: ${String(error)}`, { cause: error });
  }
}
