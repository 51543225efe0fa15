import { BufferNeedle } from './buffer-needle.ts';

/**
 * Where a usage is told. Some servers say `"usage": null` in each event but the last; those are passed over without
 * parsing them.
 * @param bytes whole events
 * @returns where the key begins; -1: nowhere
 */
export function toldUsage(bytes: Uint8Array, from = 0): number {
  let key = usageKey.indexIn(bytes, from);
  while (key >= 0 && isNull(bytes, key + usageKey.length)) {
    key = usageKey.indexIn(bytes, key + usageKey.length);
  }
  return key;
}

const usageKey = new BufferNeedle('"usage"');
const colon = 0x3a;
/** The letter that none but null begins with. */
const n = 0x6e;

/** @param afterKey where the key has ended */
function isNull(bytes: Uint8Array, afterKey: number): boolean {
  const at = skipSpace(bytes, afterKey);
  return bytes[at] === colon && bytes[skipSpace(bytes, at + 1)] === n;
}

/** Within a line; where JSON goes on in the next one, the slow way looks closely. */
function skipSpace(bytes: Uint8Array, from: number): number {
  let at = from;
  while (bytes[at] === 0x20 || bytes[at] === 0x09) at += 1;
  return at;
}
