/**
 * Head and body put together, so that they go out by one write: into one shared buffer, one behind another until all
 * are written (`clear`), then from its begin; only what the kernel does not take at once keeps its memory (`give`).
 * What is longer than this is for its writer to send in pieces.
 *
 * Measured (CPU per request on loopback): 1 KiB 8.7 us copied, 9.8 by one gathering write, 13.2 as two writes;
 * 16 KiB 11.4 and 11.5; 32 KiB 13.5 and 12.5.
 */
export const mergedBytesMax = 16 * 1024;
/** Up to so many characters a loop is faster than node's call into its own machinery. */
const loopCharsMax = 16;
export class WriteBuffer {
  private bytes: Buffer;
  private readonly size: number;
  /** Where the next piece begins. */
  private at = 0;
  /** By their order: tokens come in few lengths, and to make a view costs more than to find one. */
  private readonly views: Buffer[] = [];
  private count = 0;

  constructor(size: number) {
    this.size = size;
    this.bytes = Buffer.allocUnsafeSlow(size);
  }

  /** Bytes that still fit in. */
  get left(): number {
    return this.size - this.at;
  }

  /**
   * A chunk of `transfer-encoding: chunked`, and where it is the last one the end of the body.
   * @returns as `merge`
   */
  mergeChunk(payload: Uint8Array, isFinal: boolean): Buffer | null {
    const { bytes } = this;
    const { length } = payload;
    if (length + framingBytesMax > Math.min(mergedBytesMax, this.left)) return null;
    let at = putHex(bytes, this.at, length);
    at = putLine(bytes, at);
    bytes.set(payload, at);
    at = putLine(bytes, at + length);
    if (isFinal) {
      bytes[at] = zero;
      at = putLine(bytes, putLine(bytes, at + 1));
    }
    return this.view(at);
  }

  /**
   * @param head of characters up to U+00FF, as is the tail
   * @returns memory that holds until the next call, or, if it is kept, until `clear`; null: too much for one piece, or for
   *   what is left
   */
  merge(head: string, body: Uint8Array, tail = ''): Buffer | null {
    const length = head.length + body.length + tail.length;
    if (length > Math.min(mergedBytesMax, this.left)) return null;
    put(this.bytes, this.at, head, body, tail);
    return this.view(this.at + length);
  }

  /** What was merged last stays where it is: the next piece comes behind it. */
  keep(length: number): void {
    this.at += length;
    this.count += 1;
  }

  /** All that was kept is written. */
  clear(): void {
    this.at = 0;
    this.count = 0;
  }

  /** The same in memory of its own: for sockets that always keep what they are given. */
  static own(head: string, body: Uint8Array, tail = ''): Buffer | null {
    const length = head.length + body.length + tail.length;
    if (length > mergedBytesMax) return null;
    const bytes = Buffer.allocUnsafe(length);
    put(bytes, 0, head, body, tail);
    return bytes;
  }

  /** Somebody holds what was merged: the next pieces get other memory. */
  give(): void {
    this.bytes = Buffer.allocUnsafeSlow(this.size);
    this.views.length = 0;
    this.clear();
  }

  private view(end: number): Buffer {
    const { at, bytes, count, views } = this;
    const known = views[count];
    if (known?.byteOffset === at && known.length === end - at) return known;
    return (views[count] = bytes.subarray(at, end));
  }
}

/** Eight digits of size, their line end, that of the payload, and an empty chunk. */
const framingBytesMax = 8 + 2 + 2 + 5;
const zero = 0x30;

/** @returns where it ends */
function putHex(bytes: Uint8Array, from: number, value: number): number {
  let digits = 1;
  for (let left = value >>> 4; left > 0; left >>>= 4) digits += 1;
  for (let at = from + digits - 1, left = value; at >= from; at -= 1, left >>>= 4) {
    const digit = left & 15;
    bytes[at] = digit < 10 ? zero + digit : 0x57 + digit;
  }
  return from + digits;
}

/** A line end. @returns where it ends */
function putLine(bytes: Uint8Array, at: number): number {
  bytes[at] = 0x0d;
  bytes[at + 1] = 0x0a;
  return at + 2;
}

function put(bytes: Buffer, from: number, head: string, body: Uint8Array, tail: string): void {
  putText(bytes, head, from);
  bytes.set(body, from + head.length);
  putText(bytes, tail, from + head.length + body.length);
}

function putText(bytes: Buffer, text: string, from: number): void {
  if (text.length > loopCharsMax) {
    bytes.write(text, from, 'latin1');
    return;
  }
  for (let at = 0; at < text.length; at += 1) bytes[from + at] = text.charCodeAt(at);
}
