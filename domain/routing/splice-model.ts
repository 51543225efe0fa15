import { isText, quote, stringEnd } from './json-string.ts';
import type { IndexOf } from './json-string.ts';
import { splice } from './splice.ts';

/**
 * Replaces the value of the top-level key "model" in a JSON document, byte for byte equal elsewhere: numbers are
 * never rounded through a double, and nothing is re-ordered. Duplicate keys are all replaced: JSON.parse takes
 * the last, some servers the first, and both must see the name that the request was routed by. The document must
 * be one that JSON.parse takes (perhaps after a byte order mark); the scan relies on it.
 */
export function spliceModel(body: Uint8Array, model: string, indexOf: IndexOf = indexOfByte): Uint8Array {
  return splice(body, modelRanges(body, indexOf), new TextEncoder().encode(JSON.stringify(model)));
}

const indexOfByte: IndexOf = (bytes, byte, from) => bytes.indexOf(byte, from);

const comma = 0x2c;
const colon = 0x3a;
const backslash = 0x5c;

/** Byte ranges [from, to) of the values of top-level "model" keys. */
export function modelRanges(body: Uint8Array, indexOf: IndexOf = indexOfByte): [number, number][] {
  return fieldRanges(body, 'model', indexOf);
}

/** Byte ranges [from, to) of the values of a top-level key; two when it is there twice. */
export function fieldRanges(
  body: Uint8Array,
  field: string,
  indexOf: IndexOf = indexOfByte,
): [number, number][] {
  const ranges: [number, number][] = [];
  let at = skipSpace(body, hasByteOrderMark(body) ? 3 : 0);
  if (body[at] !== 0x7b) return ranges;
  at = skipSpace(body, at + 1);
  while (at < body.length && body[at] === quote) {
    const keyEnd = behindString(body, at, indexOf);
    const isWanted = isKey(body, at, keyEnd, field);
    const from = skipSpace(body, skipSpace(body, keyEnd) + 1); // over the colon
    const to = valueEnd(body, from, indexOf);
    if (isWanted) ranges.push([from, to]);
    at = skipSpace(body, to);
    if (body[at] === comma) at = skipSpace(body, at + 1);
  }
  return ranges;
}

export function hasByteOrderMark(body: Uint8Array): boolean {
  return body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf;
}

function skipSpace(body: Uint8Array, at: number): number {
  let i = at;
  while (isSpace(body[i] ?? colon)) i += 1;
  return i;
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** @returns the position behind the closing quote of the string that opens at `at` */
function behindString(body: Uint8Array, at: number, indexOf: IndexOf): number {
  const end = stringEnd(body, at + 1, indexOf);
  return end < 0 ? body.length : end + 1;
}

/** Keys may be escaped ("mod\u0065l"): they mean the same. */
function isKey(body: Uint8Array, from: number, to: number, field: string): boolean {
  if (to - from === field.length + 2 && isText(body, from + 1, field)) return true;
  const longest = (field.length + 2) * 6; // every character as \u0000
  if (to - from > longest || !body.subarray(from, to).includes(backslash)) return false;
  const raw = new TextDecoder().decode(body.subarray(from, to));
  return JSON.parse(raw) === field;
}

/** @returns the position behind the value that begins at `at` */
function valueEnd(body: Uint8Array, at: number, indexOf: IndexOf): number {
  let depth = 0;
  let i = at;
  while (i < body.length) {
    const byte = body[i] ?? 0;
    if (byte === quote) {
      i = behindString(body, i, indexOf);
      if (depth === 0) return i;
      continue;
    }
    if (byte === 0x7b || byte === 0x5b) depth += 1;
    else if (byte === 0x7d || byte === 0x5d) {
      if (depth === 0) return i; // the object's own end, behind a number or a word
      depth -= 1;
      if (depth === 0) return i + 1;
    } else if (depth === 0 && (byte === comma || isSpace(byte))) return i;
    i += 1;
  }
  return i;
}
