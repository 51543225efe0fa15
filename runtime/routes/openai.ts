import type { FastifyInstance } from 'fastify';
import { MusterError } from '../../domain/errors.ts';
import { asFields } from '../../domain/inference-protocol/body.ts';
import { parseJson } from '../../domain/inference-protocol/exact-json.ts';
import type { Deps } from '../deps.ts';
import { answerOpenAiError } from '../errors.ts';
import type { EmbeddingInput } from '../session/messages.ts';
import { bodyOf, callerSignal } from './request.ts';

/** OpenAI's bound on the texts of one request. */
const maxTexts = 2048;

interface EmbeddingRequest {
  readonly model: string;
  readonly texts: readonly EmbeddingInput[];
  readonly base64: boolean;
  readonly dimensions: unknown;
}

/** What else OpenAI's clients call; no model here can answer it. */
const generation = { '/chat/completions': 'Chat Completion API', '/completions': 'Completions API' };

/** OpenAI's embeddings, for models that have a tokenizer. Registered under a prefix. */
export function openaiRoutes(app: FastifyInstance, { repository, admission, metrics }: Deps): void {
  app.setErrorHandler((error, request, reply) => answerOpenAiError(error, request, reply));
  for (const [path, api] of Object.entries(generation)) {
    app.post(path, (request, reply) => {
      const { model } = asFields(parseJson(bodyOf(request)).value, 'The request');
      if (typeof model !== 'string') throw refuse("'model' must be a string.");
      find(repository, model);
      return reply.code(400).send(unsupported(model, api));
    });
  }
  app.post('/embeddings', async (request, reply) => {
    const asked = readRequest(bodyOf(request));
    const { model } = asked;
    const session = find(repository, model);
    reply.raw.once('finish', () => {
      metrics.answered(model, 'openai', reply.statusCode);
    });
    if (!session.isEmbedder) return reply.code(400).send(unsupported(model, 'Embeddings API'));
    return admission.run(async () => {
      const { vectors, tokens } = await metrics.time('predict', model, () =>
        session.embed(asked.texts, callerSignal(reply)),
      );
      const width = vectors[0]?.length;
      if (asked.dimensions !== undefined && asked.dimensions !== width)
        throw refuse(`This model gives vectors of ${String(width)} dimensions and cannot give others.`);
      return metrics.time('postprocess', model, () => ({
        object: 'list',
        data: vectors.map((vector, index) => ({
          object: 'embedding',
          index,
          embedding: asked.base64 ? toBase64(vector) : Array.from(vector),
        })),
        model,
        usage: { prompt_tokens: tokens, total_tokens: tokens },
      }));
    });
  });
}

/** KServe's words for a model of another kind. */
function unsupported(model: string, api: string) {
  const message = `Model ${model} does not support ${api}`;
  return { error: { message, type: 'BadRequestError', param: '', code: '400' } };
}

function find(repository: Deps['repository'], model: string) {
  try {
    return repository.get(model);
  } catch (error) {
    if (!(error instanceof MusterError) || error.code !== 'not_found') throw error;
    throw new MusterError('not_found', `The model \`${model}\` does not exist.`, { cause: error });
  }
}

function readRequest(body: Uint8Array): EmbeddingRequest {
  const fields = asFields(parseJson(body).value, 'The request');
  const { model, input, encoding_format: format = 'float' } = fields;
  if (typeof model !== 'string') throw refuse("'model' must be a string.");
  if (format !== 'float' && format !== 'base64')
    throw refuse("'encoding_format' must be 'float' or 'base64'.");
  return {
    model,
    texts: readInput(input),
    base64: format === 'base64',
    dimensions: fields['dimensions'] ?? undefined,
  };
}

/** A text, texts, the tokens of one text, or those of several. */
function readInput(input: unknown): readonly EmbeddingInput[] {
  const list: readonly unknown[] =
    typeof input === 'string' || isTokens(input) ? [input] : Array.isArray(input) ? input : [];
  if (list.length === 0 || list.length > maxTexts)
    throw refuse(`'input' must be a string, or a list of 1 to ${maxTexts} strings or token lists.`);
  return list.map((item, index) => {
    if (typeof item === 'string' ? item === '' : !isTokens(item))
      throw refuse(`Element ${index} of 'input' must be a string or a list of tokens, and not empty.`);
    return item as EmbeddingInput;
  });
}

function isTokens(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'number');
}

function refuse(message: string): MusterError {
  return new MusterError('invalid_input', message);
}

/** 32-bit floats, little-endian: what OpenAI's clients decode. */
function toBase64(vector: Float32Array): string {
  const bytes = Buffer.alloc(vector.length * 4);
  vector.forEach((value, index) => bytes.writeFloatLE(value, index * 4));
  return bytes.toString('base64');
}
