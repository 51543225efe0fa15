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

export class WriteBuffer {
  private bytes: Buffer;
  private readonly size: number;

  constructor(size = mergedBytesMax) {
    this.size = size;
    this.bytes = Buffer.allocUnsafeSlow(size);
  }

  /**
   * @param head of characters up to U+00FF, as is the tail
   * @returns memory that holds until the next call; null when it is too much for one piece
   */
  merge(head: string, body: Uint8Array, tail = ''): Buffer | null {
    const length = head.length + body.length + tail.length;
    if (length > this.size) return null;
    put(this.bytes, head, body, tail);
    return this.bytes.subarray(0, length);
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
  }
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
