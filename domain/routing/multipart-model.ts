import { splice } from './splice.ts';

/**
 * The field `model` of a multipart/form-data body (RFC 7578), found and replaced byte for byte: the audio or picture
 * beside it is not copied through a parser. A delimiter counts only at the begin of a line, as RFC 2046 section 5.1.1
 * has it, so bytes of a file that look like a field's head do not.
 */
export function boundaryOf(contentType: string): string | null {
  if (!/^multipart\/form-data\s*;/i.test(contentType)) return null;
  if ((contentType.match(/;\s*boundary\s*=/gi) ?? []).length > 1) return null; // readers differ in which counts
  const found = /;\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;,"]{1,70}))/i.exec(contentType);
  return found?.[1] ?? found?.[2] ?? null;
}

export interface FormModel {
  /** The last field's value, as servers' parsers keep it; null when there is none. */
  readonly model: string | null;
  /** There are several such fields. */
  readonly isDoubled: boolean;
}

/** @returns null when the form cannot be seen to its end: a server may find a field behind that, and ask that model */
export function formModel(body: Uint8Array, contentType: string): FormModel | null {
  const { fields, isWhole } = modelFields(body, contentType);
  if (!isWhole) return null;
  const range = fields.at(-1);
  const model = range === undefined ? null : new TextDecoder().decode(body.subarray(range[0], range[1]));
  return { model, isDoubled: fields.length > 1 };
}

/** Every `model` field gets the new value, so that all readers see one. */
export function spliceFormModel(body: Uint8Array, contentType: string, model: string): Uint8Array {
  return splice(body, modelFields(body, contentType).fields, new TextEncoder().encode(model));
}

/** A form of a million empty fields is an attack. */
export const partsMax = 1000;
export const headBytesMax = 4096;

interface ModelFields {
  /** Byte ranges [from, to) of the values of fields named `model`. */
  readonly fields: [number, number][];
  /** Its closing delimiter was reached. */
  readonly isWhole: boolean;
}

function modelFields(body: Uint8Array, contentType: string): ModelFields {
  const boundary = boundaryOf(contentType);
  const fields: [number, number][] = [];
  if (boundary === null) return { fields, isWhole: false };
  const delimiter = new TextEncoder().encode(`\r\n--${boundary}`);
  let at = startsWith(body, 0, delimiter.subarray(2)) ? delimiter.length - 2 : next(body, 0, delimiter);
  for (let count = 0; at >= 0 && count <= partsMax; count += 1) {
    if (isClosing(body, at)) return { fields, isWhole: true };
    const headStart = indexOf(body, crlf, at);
    const headEnd = indexOf(body, blankLine, headStart < 0 ? at : headStart);
    if (headStart < 0 || headEnd < 0 || headEnd - headStart > headBytesMax) break;
    const valueStart = headEnd + 4;
    // An empty value's own line break is the one before the delimiter, which the blank line already holds half of.
    const end = delimiterAt(body, delimiter, valueStart - 2);
    if (end < 0) break;
    const head = new TextDecoder().decode(body.subarray(headStart + 2, headEnd));
    const part = partOf(head);
    if (part === null) break;
    if (part.name === 'model' && !part.isFile) fields.push([valueStart, Math.max(valueStart, end)]);
    at = end + delimiter.length;
  }
  return { fields, isWhole: false };
}

const crlf = new Uint8Array([13, 10]);
const blankLine = new Uint8Array([13, 10, 13, 10]);

interface Part {
  readonly name: string;
  readonly isFile: boolean;
}

/**
 * What a part is, by its head. Readers differ in what they take for its name where it is not said plainly (twice, in
 * pieces, extended, in a line that is folded): such a head is not read, so that none finds a model there that was not
 * looked for.
 *
 * @returns null when it cannot be told
 */
function partOf(head: string): Part | null {
  const lines = head.split('\r\n');
  if (lines.some((line) => /[\r\n]|^[ \t]/.test(line))) return null;
  const [disposition, ...more] = lines.filter((line) => /^content-disposition\s*:/i.test(line));
  if (disposition === undefined) return { name: '', isFile: false };
  const parameters = more.length > 0 ? null : parametersOf(disposition);
  const name = parameters?.get('name');
  if (parameters === null || name === undefined) return null;
  return { name, isFile: ['filename', 'filename*'].some((key) => (parameters.get(key) ?? '') !== '') };
}

/** @returns null when there is something else among them, or one is there twice */
function parametersOf(disposition: string): ReadonlyMap<string, string> | null {
  const found = new Map<string, string>();
  const start = /^[^:]*:\s*form-data\s*/i.exec(disposition);
  if (start === null) return null;
  parameter.lastIndex = start[0].length;
  while (!/^;?$/.test(disposition.slice(parameter.lastIndex))) {
    const [, key = '', quoted, plain = ''] = parameter.exec(disposition) ?? [];
    if (key === '' || found.has(key.toLowerCase())) return null;
    found.set(key.toLowerCase(), quoted?.replace(/\\(.)/g, '$1') ?? plain);
  }
  return found;
}

const parameter = /;\s*(filename\*|[\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))\s*/y;

function isClosing(body: Uint8Array, at: number): boolean {
  return body[at] === 0x2d && body[at + 1] === 0x2d;
}

/** A boundary that goes on with other characters is another boundary, or a file's own bytes. */
function delimiterAt(body: Uint8Array, delimiter: Uint8Array, from: number): number {
  for (let at = indexOf(body, delimiter, from); at >= 0; at = indexOf(body, delimiter, at + 1)) {
    let after = at + delimiter.length;
    if (isClosing(body, after)) return at;
    while (body[after] === 0x20 || body[after] === 0x09) after += 1; // padding that RFC 2046 allows
    if (body[after] === 13 && body[after + 1] === 10) return at;
  }
  return -1;
}

function next(body: Uint8Array, from: number, delimiter: Uint8Array): number {
  const at = delimiterAt(body, delimiter, from);
  return at < 0 ? -1 : at + delimiter.length;
}

function startsWith(body: Uint8Array, at: number, what: Uint8Array): boolean {
  return what.every((byte, offset) => body[at + offset] === byte);
}

function indexOf(body: Uint8Array, what: Uint8Array, from: number): number {
  const first = what[0] ?? 0;
  for (let at = body.indexOf(first, from); at >= 0; at = body.indexOf(first, at + 1)) {
    if (startsWith(body, at, what)) return at;
  }
  return -1;
}
