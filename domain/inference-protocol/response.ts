import type { EncodedBody, WireBody } from './body.ts';
import { asParameters, BodyWriter, parametersJson, readTensors, splitBody } from './body.ts';
import type { Parameters, Tensor } from './datatypes.ts';
import { invalidInput, unexpectedOutput } from './errors.ts';
import type { InferenceRequest } from './request.ts';
import { answerForm } from './request.ts';

/** A V2 inference response, JSON or with binary tensors. */
export interface InferenceResponse {
  readonly modelName: string;
  readonly modelVersion: string | undefined;
  readonly id: string | undefined;
  readonly parameters: Parameters;
  readonly outputs: readonly Tensor[];
}

/**
 * The answer in the form that its request asked for. Field order and nulls are KServe's: a JSON answer writes
 * absent fields as null, an answer with a binary tensor leaves them out and starts with the id.
 */
export function encodeResponse(
  response: InferenceResponse,
  request: Pick<InferenceRequest, 'outputs' | 'parameters'>,
): EncodedBody {
  const byName = new Map(response.outputs.map((output) => [output.name, output]));
  const form = answerForm(request, [...byName.keys()], response.modelName);
  const binary = form.some((output) => output.binary);
  const writer = new BodyWriter();
  const outputs = form.map((wanted) => {
    const tensor = byName.get(wanted.name);
    if (tensor === undefined) throw unexpectedOutput(wanted.name, response.modelName);
    return writer.tensor(tensor, 'output', { binary: wanted.binary, nulls: !binary });
  });
  const model = `"model_name":${JSON.stringify(response.modelName)}`;
  const list = `"outputs":[${outputs.join(',')}]`;
  if (!binary) {
    const version = `"model_version":${JSON.stringify(response.modelVersion ?? null)}`;
    const id = `"id":${JSON.stringify(response.id ?? null)}`;
    return writer.finish(`{${model},${version},${id}${parametersJson(response.parameters, true)},${list}}`);
  }
  const id = response.id === undefined ? '' : `"id":${JSON.stringify(response.id)},`;
  const version =
    response.modelVersion === undefined ? '' : `,"model_version":${JSON.stringify(response.modelVersion)}`;
  return writer.finish(`{${id}${model}${version}${parametersJson(response.parameters, false)},${list}}`);
}

/** @throws MusterError `invalid_input` when the bytes are not a V2 response */
export function decodeResponse(wire: WireBody, model: string): InferenceResponse {
  const { head, tail } = splitBody(wire);
  const { model_name: modelName, model_version: modelVersion, id } = head;
  if (typeof modelName !== 'string') throw invalidInput("'model_name' of the response must be a string.");
  return {
    modelName,
    modelVersion: typeof modelVersion === 'string' ? modelVersion : undefined,
    id: typeof id === 'string' ? id : undefined,
    parameters: asParameters(head['parameters'], 'the response'),
    outputs: readTensors(head['outputs'], tail, 'output', model),
  };
}
