import { Buffer } from 'node:buffer'; // the global one is got anew at each use
import type { IndexOf } from '../domain/routing/json-string.ts';

/** The same bytes, with Buffer's search. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export const indexOfByte: IndexOf = (bytes, byte, from) => asBuffer(bytes).indexOf(byte, from);
