/**
 * Head and body put together, so that they go out by one write: into one shared buffer, again and again; only what the
 * kernel does not take at once keeps its memory (`give`). What does not fit is for its writer to send in pieces.
 *
 * Measured (CPU per request on loopback): 1 KiB 8.7 us copied, 9.8 by one gathering write, 13.2 as two writes;
 * 16 KiB 11.4 and 11.5; 32 KiB 13.5 and 12.5.
 */
const mergedBytesMax = 16 * 1024;
/** Up to so many characters a loop is faster than node's call into its own machinery. */
const loopCharsMax = 16;
/** Longer pieces have a view of their own each time. */
const viewsMax = 1024;

export class WriteBuffer {
  private bytes: Buffer;
  private readonly size: number;
  /** Of the memory's begin, by length: tokens come in few lengths, and a view costs more than to find one. */
  private readonly views = new Array<Buffer | null>(viewsMax).fill(null);

  constructor(size = mergedBytesMax) {
    this.size = size;
    this.bytes = Buffer.allocUnsafeSlow(size);
  }

  /**
   * A chunk of `transfer-encoding: chunked`, and where it is the last one the end of the body.
   * @returns as `merge`
   */
  mergeChunk(payload: Uint8Array, isFinal: boolean): Buffer | null {
    const { bytes } = this;
    const { length } = payload;
    if (length + framingBytesMax > this.size) return null;
    let at = putHex(bytes, length);
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
   * @returns memory that holds until the next call; null when it is too much for one piece
   */
  merge(head: string, body: Uint8Array, tail = ''): Buffer | null {
    const length = head.length + body.length + tail.length;
    if (length > this.size) return null;
    put(this.bytes, head, body, tail);
    return this.view(length);
  }

  /** The same in memory of its own: for sockets that always keep what they are given. */
  static own(head: string, body: Uint8Array, tail = ''): Buffer | null {
    const length = head.length + body.length + tail.length;
    if (length > mergedBytesMax) return null;
    const bytes = Buffer.allocUnsafe(length);
    put(bytes, head, body, tail);
    return bytes;
  }

  /** Somebody holds what was merged last: the next one gets other memory. */
  give(): void {
    this.bytes = Buffer.allocUnsafeSlow(this.size);
    this.views.fill(null);
  }

  private view(length: number): Buffer {
    if (length >= viewsMax) return this.bytes.subarray(0, length);
    return (this.views[length] ??= this.bytes.subarray(0, length));
  }
}

/** Eight digits of size, their line end, that of the payload, and an empty chunk. */
const framingBytesMax = 8 + 2 + 2 + 5;
const zero = 0x30;

/** @returns where it ends */
function putHex(bytes: Uint8Array, value: number): number {
  let digits = 1;
  for (let left = value >>> 4; left > 0; left >>>= 4) digits += 1;
  for (let at = digits - 1, left = value; at >= 0; at -= 1, left >>>= 4) {
    const digit = left & 15;
    bytes[at] = digit < 10 ? zero + digit : 0x57 + digit;
  }
  return digits;
}

/** A line end. @returns where it ends */
function putLine(bytes: Uint8Array, at: number): number {
  bytes[at] = 0x0d;
  bytes[at + 1] = 0x0a;
  return at + 2;
}

function put(bytes: Buffer, head: string, body: Uint8Array, tail: string): void {
  putText(bytes, head, 0);
  bytes.set(body, head.length);
  putText(bytes, tail, head.length + body.length);
}

function putText(bytes: Buffer, text: string, from: number): void {
  if (text.length > loopCharsMax) {
    bytes.write(text, from, 'latin1');
    return;
  }
  for (let at = 0; at < text.length; at += 1) bytes[from + at] = text.charCodeAt(at);
}
