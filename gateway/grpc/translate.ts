import { decodeRequest, encodeRequest } from '../../domain/inference-protocol/request.ts';
import type { InferenceRequest } from '../../domain/inference-protocol/request.ts';
import { decodeResponse } from '../../domain/inference-protocol/response.ts';
import type { InferenceResponse } from '../../domain/inference-protocol/response.ts';
import type { EncodedBody, WireBody } from '../../domain/inference-protocol/body.ts';
import type { Fields } from './schema.ts';
import { readParameters, readTensors, writeParameters, writeTensors } from './tensors.ts';

/**
 * V2 inference between its two forms, both ways: protobuf's messages, and REST bodies with binary tensors. Tensors
 * and parameters come out as they went in; what one form cannot say is refused.
 */
export interface GrpcInfer {
  readonly model: string;
  /** '': none. */
  readonly version: string;
  /** The caller sent raw bytes, and wants them. */
  readonly isRaw: boolean;
  readonly request: InferenceRequest;
}

/** @throws MusterError `invalid_input` */
export function readInferRequest(fields: Fields): GrpcInfer {
  const model = String(fields['model_name']);
  const raw = fields['raw_input_contents'] as readonly Uint8Array[];
  const list = fields['inputs'] as readonly Fields[];
  const outputs = fields['outputs'] as readonly Fields[];
  return {
    model,
    version: String(fields['model_version']),
    isRaw: raw.length > 0 || list.length === 0,
    request: {
      id: fields['id'] === '' ? undefined : String(fields['id']),
      parameters: readParameters(fields['parameters']),
      inputs: readTensors(list, raw, 'input', model),
      outputs:
        outputs.length === 0
          ? undefined
          : outputs.map(({ name, parameters }) => ({
              name: String(name),
              parameters: readParameters(parameters),
            })),
    },
  };
}

/** The REST request that asks the same, every tensor in binary form, there and back. */
export function restRequest({ request }: GrpcInfer): EncodedBody {
  const outputs = request.outputs?.map(({ name, parameters }) => ({
    name,
    parameters: { ...parameters, binary_data: true },
  }));
  const parameters = { ...request.parameters, binary_data_output: true };
  return encodeRequest({ ...request, parameters, outputs }, () => true);
}

/** @throws MusterError `invalid_input` when the server's answer is not V2 */
export function inferResponse(answer: WireBody, asked: Pick<GrpcInfer, 'model' | 'isRaw'>): Fields {
  const response = decodeResponse(answer, asked.model);
  const { list, raw } = writeTensors(response.outputs, asked.isRaw);
  return {
    model_name: response.modelName,
    model_version: response.modelVersion ?? '',
    id: response.id ?? '',
    parameters: writeParameters(response.parameters),
    outputs: list,
    raw_output_contents: raw,
  };
}

/** A REST request as the message for a gRPC server, and what its answer's form follows from. */
export function inferRequest(
  body: WireBody,
  model: string,
  version: string,
): { readonly fields: Fields; readonly request: InferenceRequest } {
  const request = decodeRequest(body, model);
  const { list, raw } = writeTensors(request.inputs, true);
  const fields = {
    model_name: model,
    model_version: version,
    id: request.id ?? '',
    parameters: writeParameters(without(request.parameters, 'binary_data_output')),
    inputs: list,
    outputs: (request.outputs ?? []).map(({ name, parameters }) => ({
      name,
      parameters: writeParameters(without(parameters, 'binary_data')),
    })),
    raw_input_contents: raw,
  };
  return { fields, request };
}

/** @throws MusterError `invalid_input` when the message is no answer of V2 */
export function readInferResponse(
  fields: Fields,
  request: InferenceRequest,
  model: string,
): InferenceResponse {
  const text = (name: string): string | undefined => {
    const value = fields[name];
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  return {
    modelName: text('model_name') ?? model,
    modelVersion: text('model_version'),
    id: text('id') ?? request.id,
    parameters: readParameters(fields['parameters']),
    outputs: readTensors(
      fields['outputs'] as readonly Fields[],
      fields['raw_output_contents'] as readonly Uint8Array[],
      'output',
      model,
    ),
  };
}

function without(parameters: InferenceRequest['parameters'], name: string): InferenceRequest['parameters'] {
  return Object.fromEntries(Object.entries(parameters).filter(([key]) => key !== name));
}
