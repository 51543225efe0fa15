const prefixBytes = 5;

/** Where messages begin and end: each has a flag and four bytes of its length before it, cut anywhere. */
export class MessageFramer {
  /** Of the message that was read last, what has come of it, its prefix included. */
  size = 0;
  isCompressed = false;
  isWhole = true;
  private length = 0;

  /** What was said of its length; 0 until that is known. */
  get lengthSaid(): number {
    return this.size < prefixBytes ? 0 : this.length;
  }

  /**
   * Goes on with the message, or begins the next.
   * @returns how many bytes from `at` on belong to it
   */
  read(chunk: Uint8Array, at: number): number {
    if (this.isWhole) {
      this.size = 0;
      this.length = 0;
      this.isWhole = false;
    }
    let next = at;
    for (; this.size < prefixBytes && next < chunk.length; next += 1) {
      const byte = chunk[next] ?? 0;
      if (this.size === 0) this.isCompressed = byte === 1;
      else this.length = this.length * 256 + byte;
      this.size += 1;
    }
    if (this.size < prefixBytes) return next - at;
    const part = Math.min(prefixBytes + this.length - this.size, chunk.length - next);
    this.size += part;
    this.isWhole = this.size === prefixBytes + this.length;
    return next - at + part;
  }
}
