import { quote, stringEnd } from '../../domain/routing/json-string.ts';
import { tokensMax } from '../../domain/usage/price.ts';
import type { Usage } from '../../domain/usage/usage.ts';
import { asBuffer, indexOfByte } from '../as-buffer.ts';
import { BufferNeedle } from './buffer-needle.ts';

/**
 * Finds `"usage": {…}` in an answer as its bytes pass, without parsing the answer. The bytes `"usage"` with a colon
 * behind them can only be a key: inside a JSON string the second quote would have a backslash before it. The last
 * usage of an answer counts, as in streams and in answers that repeat what the client sent before they say their own.
 *
 * Understood: OpenAI (`prompt_tokens`, `completion_tokens`, `prompt_tokens_details.cached_tokens`), its responses API
 * (`input_tokens`, `output_tokens`, `input_tokens_details.cached_tokens`), Anthropic (input without what its caches
 * read and wrote, which is added here; a later event with `output_tokens` alone), and `total_tokens` alone (rerank).
 */
export class UsageScanner {
  private carry: Buffer | null = null;
  private hasAny = false;
  private input = absent;
  private output = absent;
  private cached = absent;
  private total = absent;
  private cacheRead = absent;
  private cacheWrite = absent;

  /** What was pushed ended within what may be a usage. */
  get isWaiting(): boolean {
    return this.carry !== null;
  }

  /** The bytes may be reused after the call. */
  push(chunk: Uint8Array): void {
    let bytes = asBuffer(chunk);
    if (this.carry === null) {
      // Most often the usage is at the end, and whole; then nothing before it matters.
      const last = needle.lastIndexIn(bytes);
      if (last < 0) {
        this.keepTail(bytes, 0);
        return;
      }
      const end = this.read(windowOf(bytes, last), last + needle.length);
      if (end >= 0 && (isWhole() || needle.indexIn(bytes) === last)) {
        this.keepTail(bytes, end);
        return;
      }
    } else {
      bytes = Buffer.concat([this.carry, bytes]);
      this.carry = null;
    }
    this.scan(bytes);
  }

  /** Null when the answer told none. */
  usage(): Usage | null {
    if (!this.hasAny) return null;
    const cacheRead = Math.max(0, this.cacheRead);
    const beside = cacheRead + Math.max(0, this.cacheWrite); // Anthropic's
    const input = this.input === absent ? Math.max(0, this.total) : this.input + beside;
    const inputTokens = Math.min(input, tokensMax);
    const cachedInputTokens = Math.min(this.cached === absent ? cacheRead : this.cached, inputTokens);
    return { inputTokens, cachedInputTokens, outputTokens: Math.max(0, this.output) };
  }

  private scan(bytes: Buffer): void {
    let at = 0;
    for (let key = needle.indexIn(bytes); key >= 0; key = needle.indexIn(bytes, at)) {
      const window = windowOf(bytes, key);
      const end = this.read(window, key + needle.length);
      if (end >= 0) at = end;
      else if (window.length < key + usageBytesMax) {
        this.carry = Buffer.from(bytes.subarray(key)); // cut within: the next chunk goes on from its key
        return;
      } else at = key + needle.length; // too long for a usage
    }
    this.keepTail(bytes, at);
  }

  /** What may be the beginning of the key. */
  private keepTail(bytes: Buffer, from: number): void {
    const { length } = bytes;
    for (let at = Math.max(from, length - needle.length + 1); at < length; at += 1) {
      if (!needle.mayBeginAt(bytes, at)) continue;
      this.carry = Buffer.from(bytes.subarray(at));
      return;
    }
  }

  /** @returns where to search on; -1 when the bytes end too early to tell */
  private read(bytes: Buffer, afterKey: number): number {
    found.fill(absent);
    let at = skipSpace(bytes, afterKey);
    if (at >= bytes.length) return -1;
    if (bytes[at] !== colon) return at;
    at = skipSpace(bytes, at + 1);
    if (at >= bytes.length) return -1;
    if (bytes[at] !== openBrace) return at;
    const end = readObject(bytes, at);
    if (end >= 0) this.take();
    return end;
  }

  /** One that tells input is a new usage; one that tells output alone completes the former. */
  private take(): void {
    const output = found[outputField] ?? absent;
    if (isWhole() || (!this.hasAny && output !== absent)) {
      this.input = found[inputField] ?? absent;
      this.cached = found[cachedField] ?? absent;
      this.total = found[totalField] ?? absent;
      this.cacheRead = found[cacheReadField] ?? absent;
      this.cacheWrite = found[cacheWriteField] ?? absent;
    } else if (output === absent) return;
    this.output = output;
    this.hasAny = true;
  }
}

const needle = new BufferNeedle('"usage"');
const colon = 0x3a;
const dot = 0x2e;
const zero = 0x30;
const openBrace = 0x7b;
const closeBrace = 0x7d;
/** A longer one, from its key on, is not a usage. */
const usageBytesMax = 4096;

const absent = -1;
const inputField = 0;
const outputField = 1;
const cachedField = 2;
const totalField = 3;
const cacheReadField = 4;
const cacheWriteField = 5;
const fieldCount = 6;
/** Of the object being read: nothing else runs meanwhile. */
const found = new Float64Array(fieldCount);

interface Name {
  readonly bytes: Buffer;
  readonly depth: number;
  readonly field: number;
}

/** By length: what a usage holds beside these is passed over by one look. */
const names: readonly (readonly Name[])[] = byLength([
  ['prompt_tokens', 1, inputField],
  ['completion_tokens', 1, outputField],
  ['total_tokens', 1, totalField],
  ['input_tokens', 1, inputField],
  ['output_tokens', 1, outputField],
  ['cached_tokens', 2, cachedField],
  ['cache_read_input_tokens', 1, cacheReadField],
  ['cache_creation_input_tokens', 1, cacheWriteField],
]);
const noNames: readonly Name[] = [];

function byLength(list: readonly (readonly [string, number, number])[]): Name[][] {
  const table: Name[][] = [];
  for (const [name, depth, field] of list)
    (table[name.length] ??= []).push({ bytes: Buffer.from(name), depth, field });
  return table;
}

/** Input was told: it is a usage of its own. */
function isWhole(): boolean {
  return found[inputField] !== absent || found[totalField] !== absent;
}

/** So that how far a usage is read does not depend on what comes behind it. */
function windowOf(bytes: Buffer, key: number): Buffer {
  return bytes.length - key > usageBytesMax ? bytes.subarray(0, key + usageBytesMax) : bytes;
}

/** @returns the end of the object, -1 when it is cut; its numbers are in `found` */
function readObject(bytes: Buffer, begin: number): number {
  let depth = 0;
  let at = begin;
  const { length } = bytes;
  while (at < length) {
    const byte = bytes[at] ?? 0;
    if (byte === quote) {
      const end = stringEnd(bytes, at + 1, indexOfByte);
      if (end < 0) return -1;
      at = depth > 2 ? end + 1 : readField(bytes, at + 1, end, depth);
      if (at < 0) return -1;
      continue;
    }
    at += 1;
    if (byte === openBrace) depth += 1;
    else if (byte === closeBrace) {
      depth -= 1;
      if (depth === 0) return at;
    }
  }
  return -1;
}

/**
 * A key, or a value that is a string.
 * @param begin of its text
 * @param end its closing quote
 * @returns where to go on; -1 when its number is cut
 */
function readField(bytes: Buffer, begin: number, end: number, depth: number): number {
  const field = fieldOf(bytes, begin, end, depth);
  if (field < 0) return end + 1;
  let at = skipSpace(bytes, end + 1);
  if (at < bytes.length && bytes[at] !== colon) return at;
  at = skipSpace(bytes, at + 1);
  let number = 0;
  let digits = 0;
  for (; at < bytes.length; at += 1) {
    const digit = (bytes[at] ?? 0) - zero;
    if (digit < 0 || digit > 9) break;
    number = number * 10 + digit;
    digits += 1;
  }
  if (bytes[at] === dot) at = skipZeros(bytes, at + 1);
  if (at >= bytes.length) return -1;
  const next = bytes[at];
  const isWhole = next === 0x2c || next === closeBrace || skipSpace(bytes, at) > at;
  if (digits > 0 && isWhole) found[field] = Math.min(number, tokensMax);
  return at;
}

function fieldOf(bytes: Buffer, begin: number, end: number, depth: number): number {
  const length = end - begin;
  for (const name of names[length] ?? noNames) {
    if (name.depth !== depth) continue;
    let at = 0;
    while (at < length && bytes[begin + at] === name.bytes[at]) at += 1;
    if (at === length) return name.field;
  }
  return -1;
}

/** Of `12.0`, which some servers write for 12: what else follows makes it no count. */
function skipZeros(bytes: Buffer, from: number): number {
  let at = from;
  while (at < bytes.length && bytes[at] === zero) at += 1;
  return at;
}

function skipSpace(bytes: Buffer, from: number): number {
  let at = from;
  for (; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break;
  }
  return at;
}
