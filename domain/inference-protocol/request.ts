import type { EncodedBody, Fields, WireBody } from './body.ts';
import { asFields, asParameters, BodyWriter, parametersJson, readTensors, splitBody } from './body.ts';
import type { Parameters, Tensor } from './datatypes.ts';
import { invalidInput, unexpectedOutput } from './errors.ts';

/** A V2 inference request, JSON or with binary tensors. */
export interface InferenceRequest {
  readonly id: string | undefined;
  readonly parameters: Parameters;
  readonly inputs: readonly Tensor[];
  /** Undefined: the caller wants all outputs. */
  readonly outputs: readonly RequestedOutput[] | undefined;
}

export interface RequestedOutput {
  readonly name: string;
  readonly parameters: Parameters;
}

/**
 * @param model the model's name, for error texts
 * @throws MusterError `invalid_input` that names the input and what is wrong with it
 */
export function decodeRequest(wire: WireBody, model: string): InferenceRequest {
  const { head, tail } = splitBody(wire);
  return {
    id: readId(head),
    parameters: asParameters(head['parameters'], 'the request'),
    inputs: readTensors(head['inputs'], tail, 'input', model),
    outputs: readRequestedOutputs(head['outputs']),
  };
}

/** @param binary which inputs go as raw bytes; FP16 has no other form */
export function encodeRequest(request: InferenceRequest, binary: (input: Tensor) => boolean): EncodedBody {
  const writer = new BodyWriter();
  const inputs = request.inputs.map((input) =>
    writer.tensor(input, 'input', { binary: binary(input) || input.datatype === 'FP16', nulls: false }),
  );
  const outputs = request.outputs?.map(
    (output) => `{"name":${JSON.stringify(output.name)}${parametersJson(output.parameters, false)}}`,
  );
  const id = request.id === undefined ? '' : `"id":${JSON.stringify(request.id)},`;
  const asked = outputs === undefined ? '' : `,"outputs":[${outputs.join(',')}]`;
  const parameters = parametersJson(request.parameters, false);
  return writer.finish(`{${id}"inputs":[${inputs.join(',')}]${parameters}${asked}}`);
}

/**
 * The outputs to answer with and the form of each: where outputs are listed only their own `binary_data` counts,
 * else the request's `binary_data_output` does. An empty list asks for all, as no list does.
 */
export function answerForm(
  request: Pick<InferenceRequest, 'outputs' | 'parameters'>,
  available: readonly string[],
  model: string,
): readonly { readonly name: string; readonly binary: boolean }[] {
  if (request.outputs === undefined || request.outputs.length === 0) {
    const binary = request.parameters['binary_data_output'] === true;
    return available.map((name) => ({ name, binary }));
  }
  return request.outputs.map(({ name, parameters }) => {
    if (!available.includes(name)) throw unexpectedOutput(name, model);
    return { name, binary: parameters['binary_data'] === true };
  });
}

function readId(head: Fields): string | undefined {
  const id = head['id'];
  if (id === undefined || id === null) return undefined;
  if (typeof id !== 'string') throw invalidInput("'id' of the request must be a string.");
  return id;
}

function readRequestedOutputs(list: unknown): RequestedOutput[] | undefined {
  if (list === undefined || list === null) return undefined;
  if (!Array.isArray(list)) throw invalidInput('Expected "outputs" to be a list');
  const names = new Set<string>();
  return list.map((item: unknown, index) => {
    const fields = asFields(item, `Element ${index} of "outputs"`);
    const name = fields['name'];
    if (typeof name !== 'string')
      throw invalidInput(`'name' of element ${index} of "outputs" must be a string.`);
    if (names.has(name)) throw invalidInput(`The output '${name}' is asked for twice.`);
    names.add(name);
    return { name, parameters: asParameters(fields['parameters'], `output '${name}'`) };
  });
}
