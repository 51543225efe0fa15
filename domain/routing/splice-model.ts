import { splice } from './splice.ts';

/**
 * Replaces the value of the top-level key "model" in a JSON document, byte for byte equal elsewhere: numbers are
 * never rounded through a double, and nothing is re-ordered. Duplicate keys are all replaced: JSON.parse takes
 * the last, some servers the first, and both must see the name that the request was routed by. The document must
 * be one that JSON.parse takes (perhaps after a byte order mark); the scan relies on it.
 */
export function spliceModel(body: Uint8Array, model: string): Uint8Array {
  return splice(body, modelRanges(body), new TextEncoder().encode(JSON.stringify(model)));
}

const quote = 0x22;
const backslash = 0x5c;
const openers = new Set([0x7b, 0x5b]);
const closers = new Set([0x7d, 0x5d]);
const spaces = new Set([0x20, 0x09, 0x0a, 0x0d]);
const comma = 0x2c;
const colon = 0x3a;

/** Byte ranges [from, to) of the values of top-level "model" keys. */
export function modelRanges(body: Uint8Array): [number, number][] {
  return fieldRanges(body, 'model');
}

/** Byte ranges [from, to) of the values of a top-level key; two when it is there twice. */
export function fieldRanges(body: Uint8Array, field: string): [number, number][] {
  const ranges: [number, number][] = [];
  let at = skipSpace(body, hasByteOrderMark(body) ? 3 : 0);
  if (body[at] !== 0x7b) return ranges;
  at = skipSpace(body, at + 1);
  while (at < body.length && body[at] === quote) {
    const keyEnd = stringEnd(body, at);
    const isWanted = isKey(body, at, keyEnd, field);
    const from = skipSpace(body, skipSpace(body, keyEnd) + 1); // over the colon
    const to = valueEnd(body, from);
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
  while (spaces.has(body[i] ?? colon)) i += 1;
  return i;
}

/** @returns the position behind the closing quote of the string that opens at `at` */
function stringEnd(body: Uint8Array, at: number): number {
  let i = at + 1;
  while (i < body.length && body[i] !== quote) i += body[i] === backslash ? 2 : 1;
  return i + 1;
}

/** Keys may be escaped ("mod\u0065l"): they mean the same. */
function isKey(body: Uint8Array, from: number, to: number, field: string): boolean {
  const longest = (field.length + 2) * 6; // every character as \u0000
  if (to - from > longest) return false;
  const raw = new TextDecoder().decode(body.subarray(from, to));
  return JSON.parse(raw) === field;
}

/** @returns the position behind the value that begins at `at` */
function valueEnd(body: Uint8Array, at: number): number {
  let depth = 0;
  let i = at;
  while (i < body.length) {
    const byte = body[i] ?? 0;
    if (byte === quote) {
      i = stringEnd(body, i);
      if (depth === 0) return i;
      continue;
    }
    if (openers.has(byte)) depth += 1;
    else if (closers.has(byte)) {
      if (depth === 0) return i; // the object's own end, behind a number or a word
      depth -= 1;
      if (depth === 0) return i + 1;
    } else if (depth === 0 && (byte === comma || spaces.has(byte))) return i;
    i += 1;
  }
  return i;
}
