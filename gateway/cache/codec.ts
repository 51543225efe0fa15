import { hash } from 'node:crypto';
import { promisify } from 'node:util';
import { deflateRaw, inflateRawSync } from 'node:zlib';
import type { Entry } from './entry.ts';

/**
 * An entry as bytes for Redis: one byte of format, 16 bytes of SHA-256 over the key and all that follows, the length
 * of the head, the head as JSON, the body, perhaps compressed. What was cut, changed, written by another version of
 * this code or copied under another key does not come out again; that is a miss and no error.
 */
const format = 1;
const digestBytes = 16;
const headAt = 1 + digestBytes + 4;

interface Head {
  readonly status: number;
  readonly form: Entry['form'];
  readonly delivery: Entry['delivery'];
  readonly hasUsage: boolean;
  readonly contentType: string;
  readonly jsonLength: string | null;
  readonly storedAtMs: number;
  readonly expiresAtMs: number;
  readonly staleUntilMs: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly isCompressed: boolean;
}

const compress = promisify(deflateRaw);

/** @param compressBytesMin bodies from this size on are compressed, off the main thread */
export async function encodeEntry(key: string, entry: Entry, compressBytesMin: number): Promise<Buffer> {
  const { body, ...rest } = entry;
  const isCompressed = body.length >= compressBytesMin;
  const packed = isCompressed ? await compress(body, { level: 1 }) : body;
  const head = Buffer.from(JSON.stringify({ ...rest, isCompressed } satisfies Head));
  const out = Buffer.allocUnsafe(headAt + head.length + packed.length);
  out[0] = format;
  out.writeUInt32BE(head.length, headAt - 4);
  head.copy(out, headAt);
  packed.copy(out, headAt + head.length);
  digest(key, out).copy(out, 1);
  return out;
}

/** @returns null for bytes that are not an entry of this key */
export function decodeEntry(key: string, bytes: Buffer, bodyBytesMax: number): Entry | null {
  if (bytes.length < headAt || bytes[0] !== format) return null;
  if (!digest(key, bytes).equals(bytes.subarray(1, 1 + digestBytes))) return null;
  const headLength = bytes.readUInt32BE(headAt - 4);
  if (headAt + headLength > bytes.length) return null;
  try {
    const head = JSON.parse(bytes.toString('utf8', headAt, headAt + headLength)) as Head;
    const packed = bytes.subarray(headAt + headLength);
    const { isCompressed, ...rest } = head;
    const body = isCompressed ? inflateRawSync(packed, { maxOutputLength: bodyBytesMax }) : packed;
    return body.length > bodyBytesMax ? null : { ...rest, body: copyOf(body) };
  } catch {
    return null; // more than it may be, or no deflate stream
  }
}

/** A slice would hold in memory all that it was cut from: what Redis sent, or where it was inflated. */
function copyOf(body: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(body.length);
  body.copy(copy);
  return copy;
}

function digest(key: string, bytes: Buffer): Buffer {
  const content = bytes.subarray(1 + digestBytes);
  return hash('sha256', Buffer.concat([Buffer.from(`${key}\n`), content]), 'buffer').subarray(0, digestBytes);
}
