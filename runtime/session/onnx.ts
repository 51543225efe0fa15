import { stat } from 'node:fs/promises';
import * as ort from 'onnxruntime-node';
import { MusterError } from '../../domain/errors.ts';
import type { Datatype, Elements, Tensor } from '../../domain/inference-protocol/datatypes.ts';
import { invalidInput } from '../../domain/inference-protocol/errors.ts';
import type { TensorSpec } from '../../domain/inference-protocol/tensor-spec.ts';
import type { ModelShape } from './messages.ts';

/** ONNX Runtime in the words of the V2 protocol. */
const datatypeOf: Readonly<Record<string, Datatype>> = {
  bool: 'BOOL',
  uint8: 'UINT8',
  uint16: 'UINT16',
  uint32: 'UINT32',
  uint64: 'UINT64',
  int8: 'INT8',
  int16: 'INT16',
  int32: 'INT32',
  int64: 'INT64',
  float16: 'FP16',
  float32: 'FP32',
  float64: 'FP64',
  string: 'BYTES',
};
const typeOf = Object.fromEntries(
  Object.entries(datatypeOf).map(([type, datatype]) => [datatype, type]),
) as Readonly<Record<Datatype, ort.Tensor.Type>>;

export interface OnnxModel {
  readonly shape: ModelShape;
  run(inputs: readonly Tensor[], outputs: readonly string[]): Promise<Tensor[]>;
}

/** @throws MusterError `model_load_failed` that names the file and why */
export async function openOnnx(file: string, threads: number): Promise<OnnxModel> {
  ort.env.logLevel = 'fatal';
  const session = await loadSession(file, threads);
  const inputs = session.inputMetadata.map((value) => {
    const spec = asSpec(value);
    if (spec === undefined) throw cannotServe(file, `its input '${value.name}' is not a tensor`);
    return spec;
  });
  // A sequence or map (scikit-learn's ZipMap) has no form in V1 or V2; a model with other outputs still serves those.
  const outputs = session.outputMetadata.map(asSpec).filter((spec) => spec !== undefined);
  if (outputs.length === 0)
    throw cannotServe(file, 'none of its outputs is a tensor (export it without ZipMap)');
  return { shape: { inputs, outputs }, run: (given, wanted) => run(session, given, wanted) };
}

async function loadSession(file: string, threads: number): Promise<ort.InferenceSession> {
  try {
    if ((await stat(file)).size === 0) throw new Error('the file is empty');
    return await ort.InferenceSession.create(file, {
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      logSeverityLevel: 4,
    });
  } catch (error) {
    throw cannotServe(file, reason(error, file), error);
  }
}

function cannotServe(file: string, why: string, cause?: unknown): MusterError {
  return new MusterError('model_load_failed', `${file}: ${why}`, { cause });
}

/** ONNX Runtime's message in one line, without the file that we name ourselves. */
function reason(error: unknown, file: string): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(`Load model from ${file} failed:`, '').replace(/\s+/g, ' ').trim();
}

function asSpec(value: ort.InferenceSession.ValueMetadata): TensorSpec | undefined {
  const datatype = value.isTensor ? datatypeOf[value.type] : undefined;
  if (!value.isTensor || datatype === undefined) return undefined;
  return { name: value.name, datatype, shape: value.shape.map((d) => (typeof d === 'number' ? d : -1)) };
}

async function run(
  session: ort.InferenceSession,
  inputs: readonly Tensor[],
  outputs: readonly string[],
): Promise<Tensor[]> {
  const feeds = Object.fromEntries(inputs.map((input) => [input.name, toOrt(input)]));
  let results: ort.InferenceSession.OnnxValueMapType;
  try {
    results = await session.run(feeds, outputs);
  } catch (error) {
    throw new MusterError('inference_failed', `The model failed: ${reason(error, '')}`, { cause: error });
  }
  return outputs.map((name) => {
    const value = results[name];
    if (value === undefined) throw new MusterError('inference_failed', `The model gave no output '${name}'.`);
    return { ...fromOrt(value), name, shape: value.dims, parameters: {} };
  });
}

function toOrt(tensor: Tensor): ort.Tensor {
  const data =
    tensor.datatype === 'BYTES' ? tensor.data.map((bytes) => decodeText(bytes, tensor.name)) : tensor.data;
  return new ort.Tensor(typeOf[tensor.datatype], data, tensor.shape);
}

function fromOrt(value: ort.Tensor): Elements {
  const datatype = datatypeOf[value.type];
  if (datatype === undefined)
    throw new MusterError('inference_failed', `ONNX type ${value.type} is not supported.`);
  if (datatype === 'BYTES') {
    const encoder = new TextEncoder();
    return { datatype, data: (value.data as string[]).map((text) => encoder.encode(text)) };
  }
  if (datatype !== 'FP16') return { datatype, data: value.data } as Elements;
  const { buffer, byteOffset, length } = value.data as Uint16Array;
  return { datatype, data: new Uint16Array(buffer, byteOffset, length) };
}

function decodeText(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw invalidInput(`ONNX strings are UTF-8 text, but input '${name}' holds other bytes.`, {
      cause: error,
    });
  }
}
