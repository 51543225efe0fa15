import { bytesPerElement, elementCount, isDatatype } from '../inference-protocol/datatypes.ts';
import type { Datatype } from '../inference-protocol/datatypes.ts';
import { encodeText, jsonTextOf } from './batch-form.ts';
import type { BatchForm, Joinable, WireMessage } from './batch-form.ts';
import { between, fieldsOf, itemsOf, leavesOf } from './json-ranges.ts';
import type { Range } from './json-ranges.ts';

/**
 * V2: tensors are joined along their first dimension, where names, datatypes, other dimensions and parameters agree.
 * Elements move as the text or the bytes that they came as, so no number changes; what they came as stays, too: a JSON
 * tensor is asked for as JSON, a binary one as binary.
 */
interface V2Request extends Joinable {
  readonly inputs: readonly RawTensor[];
  /** Fields beside `id` and `inputs`, as they came. */
  readonly rest: string;
  /** JSON text; null: it has none. */
  readonly id: string | null;
}

interface RawTensor {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  /** JSON text of its parameters without `binary_data_size`, '' when there are none. */
  readonly parameters: string;
  readonly data: RawData;
  /** Where its parts lie in its message's text. */
  readonly fields: ReadonlyMap<string, Range>;
}

type RawData =
  | {
      readonly kind: 'json';
      readonly text: string;
      /** All elements, row-major. */
      readonly elements: readonly Range[];
      /** A list for each row, where the data are lists within a list; null: all elements are in one. */
      readonly rows: readonly Range[] | null;
    }
  | { readonly kind: 'binary'; readonly bytes: Uint8Array };

/** Requests of one sequence must reach their model one by one. */
const stateful = /"sequence_(id|start|end)"/;

export const v2Batch: BatchForm<V2Request> = {
  read(message) {
    const head = readHead(message, 'inputs');
    if (head === null || head.tensors.length === 0) return null;
    const { text, fields, tensors } = head;
    const rows = tensors[0]?.shape[0] ?? 0;
    if (rows < 1 || tensors.some(({ shape }) => shape[0] !== rows)) return null;
    const rest = [...fields]
      .filter(([name, { from, to }]) => name !== 'id' && name !== 'inputs' && text.slice(from, to) !== 'null')
      .map(([name, { from, to }]) => `${JSON.stringify(name)}:${text.slice(from, to)}`)
      .sort()
      .join(',');
    if (stateful.test(rest)) return null;
    const id = fields.get('id');
    const idText = id === undefined ? null : text.slice(id.from, id.to);
    if (idText !== null && idText !== 'null' && !idText.startsWith('"')) return null;
    const kinds = tensors.map(
      ({ name, datatype, shape, parameters, data }) =>
        `${JSON.stringify(name)} ${datatype} ${shape.slice(1).join('x')} ${data.kind} ${parameters}`,
    );
    return {
      key: `v2 ${kinds.join(';')} ${rest}`,
      rows,
      inputs: tensors,
      rest,
      id: idText === 'null' ? null : idText,
    };
  },

  join(requests) {
    const rows = requests.reduce((sum, request) => sum + request.rows, 0);
    const tail: Uint8Array[] = [];
    const first = requests[0];
    const inputs = (first?.inputs ?? []).map((input, at) => {
      const parts = requests.flatMap((request) => request.inputs[at] ?? []);
      return joined(input, parts, rows, tail);
    });
    const rest = first === undefined || first.rest === '' ? '' : `,${first.rest}`;
    return withTail(`{"inputs":[${inputs.join(',')}]${rest}}`, tail);
  },

  split(answer, requests, newId) {
    const head = readHead(answer, 'outputs');
    const rows = requests.reduce((sum, request) => sum + request.rows, 0);
    if (head === null || head.tensors.some(({ shape }) => shape[0] !== rows)) return null;
    const answers: WireMessage[] = [];
    let from = 0;
    for (const request of requests) {
      const part = answerFor(head, request, { from, to: from + request.rows }, newId);
      if (part === null) return null;
      answers.push(part);
      from += request.rows;
    }
    return answers;
  },
};

interface Head {
  readonly text: string;
  readonly fields: ReadonlyMap<string, Range>;
  readonly tensors: readonly RawTensor[];
}

function readHead({ body, headLength }: WireMessage, list: 'inputs' | 'outputs'): Head | null {
  const length = headLength ?? body.length;
  if (length > body.length) return null;
  const text = jsonTextOf(body.subarray(0, length));
  const fields = text === null ? null : fieldsOf(text);
  const range = fields?.get(list);
  const items = text === null || range === undefined ? null : itemsOf(text, range.from);
  if (text === null || fields === null || items === null) return null;
  const tensors: RawTensor[] = [];
  const names = new Set<string>();
  let offset = length;
  for (const item of items) {
    const tensor = readTensor(text, item, body.subarray(offset));
    if (tensor === null || names.has(tensor.name)) return null;
    names.add(tensor.name);
    if (tensor.data.kind === 'binary') offset += tensor.data.bytes.length;
    tensors.push(tensor);
  }
  return offset === body.length ? { text, fields, tensors } : null;
}

const tensorFields = new Set(['name', 'shape', 'datatype', 'parameters', 'data']);

function readTensor(text: string, item: Range, rest: Uint8Array): RawTensor | null {
  const fields = fieldsOf(text, item.from);
  if (fields === null || [...fields.keys()].some((name) => !tensorFields.has(name))) return null;
  const valueOf = (name: string): unknown => {
    const range = fields.get(name);
    return range === undefined ? undefined : JSON.parse(text.slice(range.from, range.to));
  };
  const [name, datatype, shape] = [valueOf('name'), valueOf('datatype'), valueOf('shape')];
  if (typeof name !== 'string' || !isDatatype(datatype) || !isShape(shape)) return null;
  const parameters = readParameters(text, fields.get('parameters'));
  if (parameters === null) return null;
  const { size } = parameters;
  const range = fields.get('data');
  const data =
    range === undefined || text.startsWith('null', range.from)
      ? binaryData(datatype, shape, size === null ? null : rest.subarray(0, size), size)
      : jsonData(text, shape, range, size);
  return data === null ? null : { name, datatype, shape, parameters: parameters.text, fields, data };
}

function binaryData(
  datatype: Datatype,
  shape: readonly number[],
  bytes: Uint8Array | null,
  size: number | null,
): RawData | null {
  if (bytes?.length !== size || bytes === null || !isWhole(datatype, shape, bytes)) return null;
  return { kind: 'binary', bytes };
}

function jsonData(text: string, shape: readonly number[], range: Range, size: number | null): RawData | null {
  const leaves = text[range.from] === '[' ? leavesOf(text, range) : null;
  if (leaves === null || size !== null || leaves.ranges.length !== elementCount(shape)) return null;
  const { ranges: elements, lengths } = leaves;
  if (lengths?.length === 1) return { kind: 'json', text, elements, rows: null };
  // Fewer levels than dimensions: the others are 1, or there are no elements.
  if (lengths?.every((length, at) => length === shape[at]) !== true) return null;
  return { kind: 'json', text, elements, rows: itemsOf(text, range.from) ?? [] };
}

function isShape(value: unknown): value is number[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((n) => Number.isSafeInteger(n) && (n as number) >= 0)
  );
}

/** `binary_data_size` apart from the others. */
function readParameters(
  text: string,
  range: Range | undefined,
): { text: string; size: number | null } | null {
  if (range === undefined || text.startsWith('null', range.from)) return { text: '', size: null };
  const fields = fieldsOf(text, range.from);
  if (fields === null) return null;
  let size: number | null = null;
  const others: string[] = [];
  for (const [name, { from, to }] of fields) {
    if (name !== 'binary_data_size') others.push(`${JSON.stringify(name)}:${text.slice(from, to)}`);
    else size = Number(text.slice(from, to));
  }
  if (size !== null && (!Number.isSafeInteger(size) || size < 0)) return null;
  return { text: others.sort().join(','), size };
}

/** Whether bytes hold exactly the elements of the shape. */
function isWhole(datatype: Datatype, shape: readonly number[], bytes: Uint8Array): boolean {
  const each = bytesPerElement(datatype);
  if (each > 0) return bytes.length === elementCount(shape) * each;
  return offsetOf(bytes, elementCount(shape)) === bytes.length;
}

/** Where element number `count` of a tensor of BYTES begins; -1: there are not so many. */
function offsetOf(bytes: Uint8Array, count: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  for (let n = 0; n < count; n += 1) {
    if (at + 4 > bytes.length) return -1;
    at += 4 + view.getUint32(at, true);
  }
  return at <= bytes.length ? at : -1;
}

function joined(first: RawTensor, parts: readonly RawTensor[], rows: number, tail: Uint8Array[]): string {
  const open = `{"name":${JSON.stringify(first.name)},"shape":[${[rows, ...first.shape.slice(1)].join(',')}],"datatype":"${first.datatype}"`;
  if (first.data.kind === 'json') {
    const parameters = first.parameters === '' ? '' : `,"parameters":{${first.parameters}}`;
    return `${open}${parameters},"data":[${parts.map(({ data }) => flatText(data)).join(',')}]}`;
  }
  let size = 0;
  for (const { data } of parts) {
    if (data.kind !== 'binary') continue;
    tail.push(data.bytes);
    size += data.bytes.length;
  }
  return `${open},"parameters":${withSize(first.parameters, size)}}`;
}

function withSize(parameters: string, size: number): string {
  return `{${parameters === '' ? '' : `${parameters},`}"binary_data_size":${size}}`;
}

/** Rows `from` to `to` of each output, under the request's own id. */
function answerFor(
  { text, fields, tensors }: Head,
  request: V2Request,
  rows: Range,
  newId: () => string,
): WireMessage | null {
  const tail: Uint8Array[] = [];
  const outputs = tensors.map((tensor) => sliced(text, tensor, rows, tail));
  const parts: string[] = [];
  for (const [name, { from, to }] of fields) {
    let value = text.slice(from, to);
    if (name === 'outputs') value = `[${outputs.join(',')}]`;
    // An id in the answer to a batch that had none is the server's own: one for each answer, then.
    else if (name === 'id') value = request.id ?? (value === 'null' ? value : JSON.stringify(newId()));
    parts.push(`${JSON.stringify(name)}:${value}`);
  }
  if (request.id !== null && !fields.has('id')) parts.push(`"id":${request.id}`);
  return withTail(`{${parts.join(',')}}`, tail);
}

function sliced(text: string, tensor: RawTensor, rows: Range, tail: Uint8Array[]): string {
  const { shape, data } = tensor;
  const parts: string[] = [];
  for (const [name, { from, to }] of tensor.fields) {
    let value = text.slice(from, to);
    if (name === 'shape') value = `[${[rows.to - rows.from, ...shape.slice(1)].join(',')}]`;
    else if (name === 'data' && data.kind === 'json') value = `[${rowsText(data, rows, shape)}]`;
    else if (name === 'parameters' && data.kind === 'binary') {
      const bytes = rowsBytes(tensor, data.bytes, rows);
      tail.push(bytes);
      value = withSize(tensor.parameters, bytes.length);
    }
    parts.push(`${JSON.stringify(name)}:${value}`);
  }
  return `{${parts.join(',')}}`;
}

type JsonData = Extract<RawData, { kind: 'json' }>;

/** The elements in one list. */
function flatText(data: RawData): string {
  if (data.kind === 'binary') return ''; // its key is another
  const { text, elements, rows } = data;
  if (rows === null) return between(text, elements, 0, elements.length);
  return elements.map(({ from, to }) => text.slice(from, to)).join(',');
}

function rowsText({ text, elements, rows }: JsonData, { from, to }: Range, shape: readonly number[]): string {
  if (rows !== null) return between(text, rows, from, to);
  const perRow = elementCount(shape.slice(1));
  return between(text, elements, from * perRow, to * perRow);
}

function rowsBytes({ shape, datatype }: RawTensor, bytes: Uint8Array, { from, to }: Range): Uint8Array {
  const perRow = elementCount(shape.slice(1));
  const each = bytesPerElement(datatype);
  const place = (row: number) => (each > 0 ? row * perRow * each : offsetOf(bytes, row * perRow));
  return bytes.subarray(place(from), place(to));
}

function withTail(head: string, tail: readonly Uint8Array[]): WireMessage {
  const text = encodeText(head);
  if (tail.length === 0) return { body: text, headLength: null };
  const body = new Uint8Array(tail.reduce((sum, part) => sum + part.length, text.length));
  let at = 0;
  for (const part of [text, ...tail]) {
    body.set(part, at);
    at += part.length;
  }
  return { body, headLength: text.length };
}
