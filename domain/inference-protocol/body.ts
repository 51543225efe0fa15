import type { Datatype, Parameters, ParameterValue, Tensor } from './datatypes.ts';
import { datatypes, elementCount, isDatatype, WholeDouble } from './datatypes.ts';
import { elementsFromBytes, elementsToBytes } from './binary-tensor.ts';
import { invalidInput } from './errors.ts';
import {
  mayBeRounded,
  mayHoldWholeDoubles,
  parametersToJson,
  parseExactHead,
  parseJson,
} from './exact-json.ts';
import { elementsFromJson, elementsToJson, flatten } from './json-tensor.ts';

/**
 * What requests and responses of V2 share: a JSON head, and after it the raw bytes of the tensors that say
 * `binary_data_size`, in the order in which the head lists them.
 */
export interface WireBody {
  readonly body: Uint8Array;
  /** The header `Inference-Header-Content-Length`, where it was sent: bytes of the JSON head. */
  readonly headerLength?: string | number | undefined;
  readonly contentType?: string | undefined;
}

export interface EncodedBody {
  readonly body: Uint8Array;
  /** Bytes of the JSON head when raw tensors follow it, else undefined. */
  readonly headerLength: number | undefined;
  readonly contentType: string;
}

export type Fields = Readonly<Record<string, unknown>>;
export type Direction = 'input' | 'output';

/** Head and tail of a body, the head parsed so that 64-bit integers are exact, and parameters of the kind they are. */
export function splitBody(wire: WireBody): { head: Fields; tail: Uint8Array } {
  const length = headLength(wire);
  const { text, value } = parseHead(wire, length);
  const head = asFields(value, 'The request');
  // A request lists the outputs that it wants beside its inputs.
  const items = ['inputs', 'outputs'].flatMap((key) =>
    Array.isArray(head[key]) ? (head[key] as unknown[]) : [],
  );
  const holders = [head, ...items];
  const isExact = !holders.some(holdsRounded) && !(holders.some(holdsWhole) && mayHoldWholeDoubles(text));
  return {
    head: isExact ? head : asFields(parseExactHead(text), 'The request'),
    tail: wire.body.subarray(length),
  };
}

function headLength({ body, headerLength }: WireBody): number {
  if (headerLength === undefined) return body.length;
  const length = Number(headerLength);
  if (!Number.isInteger(length) || length < 0 || length > body.length || String(headerLength).trim() === '')
    throw invalidInput(
      `The 'inference-header-content-length' header is ${JSON.stringify(headerLength)}, ` +
        `but must be the length of the JSON head: from 0 to the body's ${body.length} bytes.`,
    );
  return length;
}

function parseHead(wire: WireBody, length: number) {
  try {
    return parseJson(wire.body.subarray(0, length));
  } catch (error) {
    if (wire.headerLength === undefined && wire.contentType?.startsWith('application/octet-stream') === true)
      throw invalidInput(
        "received byte inputs, but the'inference-header-content-length' header is missing.",
        {
          cause: error,
        },
      );
    throw error;
  }
}

function holdsRounded(tensor: unknown): boolean {
  const { datatype, data } = (tensor ?? {}) as Fields;
  if ((datatype === 'INT64' || datatype === 'UINT64') && mayBeRounded(data)) return true;
  return parametersRounded(tensor);
}

/** Parameters, too, are integers of 64 bits; those beyond 2^53 are read as bigints. */
function parametersRounded(holder: unknown): boolean {
  return mayBeRounded(parametersOf(holder));
}

/** Whether a parameter may have been 1.0 as well as 1. */
function holdsWhole(holder: unknown): boolean {
  return parametersOf(holder).some(Number.isInteger);
}

function parametersOf(holder: unknown): unknown[] {
  const { parameters } = (holder ?? {}) as Fields;
  return typeof parameters === 'object' && parameters !== null ? Object.values(parameters) : [];
}

export function asFields(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalidInput(`${what} must be a JSON object.`);
  return value as Fields;
}

export function asParameters(value: unknown, what: string): Parameters {
  if (value === undefined || value === null) return {};
  const fields = asFields(value, `'parameters' of ${what}`);
  for (const [key, field] of Object.entries(fields))
    if (!['string', 'number', 'boolean', 'bigint'].includes(typeof field) && !(field instanceof WholeDouble))
      throw invalidInput(`Parameter '${key}' of ${what} must be a string, a number or a boolean.`);
  return fields as Readonly<Record<string, ParameterValue>>;
}

/** The tensors of a head with their data, and a check that the tail holds nothing else. */
export function readTensors(list: unknown, tail: Uint8Array, direction: Direction, model: string): Tensor[] {
  if (!Array.isArray(list)) throw invalidInput(`Expected "${direction}s" to be a list`);
  const names = new Set<string>();
  let offset = 0;
  const tensors = list.map((item: unknown, index) => {
    const fields = asFields(item, `Element ${index} of "${direction}s"`);
    const name = fields['name'];
    if (typeof name !== 'string')
      throw invalidInput(`'name' of element ${index} of "${direction}s" must be a string.`);
    if (names.has(name)) throw invalidInput(`The ${direction} '${name}' is listed twice.`);
    names.add(name);
    const read = readTensor(fields, name, tail.subarray(offset), direction, model);
    offset += read.bytes;
    return read.tensor;
  });
  if (offset !== tail.length)
    throw invalidInput(
      `The body goes on for ${tail.length - offset} bytes after the last binary ${direction}.`,
    );
  return tensors;
}

function readTensor(fields: Fields, name: string, rest: Uint8Array, direction: Direction, model: string) {
  const where = `${direction} '${name}'`;
  const datatype = asDatatype(fields['datatype'], where);
  const shape = asShape(fields['shape'], where);
  const { binary_data_size: size, ...parameters } = asParameters(fields['parameters'], where);
  const bytes = size instanceof WholeDouble ? size.value : size;
  const data = fields['data'];
  const common = { name, shape, parameters };
  const count = elementCount(shape);
  if (data === undefined || data === null) {
    if (bytes === undefined)
      throw invalidInput(
        rest.length > 0
          ? `'binary_data_size' is not specified for ${where} for model '${model}'`
          : `'data' field is missing for ${where} for model '${model}'`,
      );
    if (typeof bytes !== 'number' || !Number.isInteger(bytes) || bytes < 0 || bytes > rest.length)
      throw invalidInput(
        `'binary_data_size' of ${where} is ${String(bytes)}, but ${rest.length} bytes of the body are left for it.`,
      );
    const elements = elementsFromBytes(datatype, rest.subarray(0, bytes), count, where);
    return { tensor: { ...elements, ...common }, bytes };
  }
  if (bytes !== undefined)
    throw invalidInput(`The ${where} has both 'data' and 'binary_data_size': send one of them.`);
  return { tensor: { ...readData(datatype, data, shape, where), ...common }, bytes: 0 };
}

function readData(datatype: Datatype, data: unknown, shape: readonly number[], where: string) {
  if (datatype === 'FP16')
    throw invalidInput(
      `Receiving FP16 data via JSON is not supported. Please use the binary data format for ${where}`,
    );
  if (!Array.isArray(data)) throw invalidInput(`'data' of ${where} must be a list.`);
  const { elements } = flatten(data, where);
  const count = elementCount(shape);
  if (elements.length !== count)
    throw invalidInput(
      `The ${where} of shape [${shape.join(',')}] needs ${count} elements, but ${elements.length} came.`,
    );
  return elementsFromJson(datatype, elements, where);
}

function asDatatype(value: unknown, where: string): Datatype {
  if (isDatatype(value)) return value;
  throw invalidInput(
    `The datatype ${JSON.stringify(value) ?? '(none)'} of ${where} is not supported. Use one of ${datatypes.join(', ')}.`,
  );
}

function asShape(value: unknown, where: string): number[] {
  if (!Array.isArray(value) || !value.every((d) => Number.isSafeInteger(d) && (d as number) >= 0))
    throw invalidInput(`'shape' of ${where} must be a list of integers from 0 up.`);
  return value as number[];
}

/** A head's text and the raw bytes that follow it. */
export class BodyWriter {
  readonly #tail: Uint8Array[] = [];

  /** The JSON of one tensor; with `binary` its data goes to the tail. `nulls`: KServe writes absent parameters as null. */
  tensor(tensor: Tensor, direction: Direction, form: { binary: boolean; nulls: boolean }): string {
    const named = `"name":${JSON.stringify(tensor.name)},"shape":[${tensor.shape.join(',')}],"datatype":"${tensor.datatype}"`;
    const bytes = form.binary ? elementsToBytes(tensor) : undefined;
    if (bytes !== undefined) this.#tail.push(bytes);
    const all =
      bytes === undefined ? tensor.parameters : { ...tensor.parameters, binary_data_size: bytes.length };
    const parameters = parametersJson(all, form.nulls);
    if (form.binary) return `{${named}${parameters}}`;
    const data = elementsToJson(tensor, `${direction} '${tensor.name}'`).join(',');
    return `{${named}${parameters},"data":[${data}]}`;
  }

  finish(head: string): EncodedBody {
    const text = new TextEncoder().encode(head);
    if (this.#tail.length === 0)
      return { body: text, headerLength: undefined, contentType: 'application/json' };
    const body = new Uint8Array(this.#tail.reduce((total, part) => total + part.length, text.length));
    let offset = 0;
    for (const part of [text, ...this.#tail]) {
      body.set(part, offset);
      offset += part.length;
    }
    return { body, headerLength: text.length, contentType: 'application/octet-stream' };
  }
}

/** `,"parameters":{…}`, or nothing (or null) when there are none. */
export function parametersJson(parameters: Parameters, nulls: boolean): string {
  if (Object.keys(parameters).length === 0) return nulls ? ',"parameters":null' : '';
  return `,"parameters":${parametersToJson(parameters)}`;
}
