/**
 * A body that comes in pieces, of a length that is known. Memory is set aside as bytes come, doubling up to that
 * length: a client that announces much and sends little costs little.
 */
export class BodyReader {
  private readonly length: number;
  private bytes = empty;
  private at = 0;

  constructor(length: number) {
    this.length = length;
  }

  /** @returns bytes of memory that adding so many more would take */
  wants(more: number): number {
    return this.capacityFor(more) - this.bytes.length;
  }

  /** @returns how many of the bytes belonged to the body */
  add(chunk: Buffer): number {
    const capacity = this.capacityFor(chunk.length);
    if (capacity > this.bytes.length) {
      const grown = Buffer.allocUnsafeSlow(capacity);
      this.bytes.copy(grown, 0, 0, this.at);
      this.bytes = grown;
    }
    const copied = chunk.copy(this.bytes, this.at, 0, this.length - this.at);
    this.at += copied;
    return copied;
  }

  /** @returns null while bytes are missing */
  whole(): Buffer | null {
    return this.at === this.length ? this.bytes : null;
  }

  private capacityFor(more: number): number {
    const needed = Math.min(this.length, this.at + more);
    if (needed <= this.bytes.length) return this.bytes.length;
    return Math.min(this.length, Math.max(firstBytes, needed, 2 * this.bytes.length));
  }
}

const empty = Buffer.alloc(0);
const firstBytes = 64 * 1024;
