const prefixBytes = 5;

/** How much of which message has come: each has a flag and four bytes of its length before it, cut anywhere. */
export class MessageSizes {
  private readonly whole: number[] = [];
  private came = 0;
  private length = 0;

  /** A part of a message has come. */
  get isInside(): boolean {
    return this.came > 0;
  }

  /** The size of the first message that was not asked for yet, with its prefix. */
  next(): number {
    return this.whole.shift() ?? 0;
  }

  /** @returns how many messages are whole with these bytes */
  add(chunk: Uint8Array): number {
    const before = this.whole.length;
    for (let at = 0; at < chunk.length;) {
      if (this.came < prefixBytes) {
        if (this.came > 0) this.length = this.length * 256 + (chunk[at] ?? 0);
        this.came += 1;
        at += 1;
      } else {
        const part = Math.min(prefixBytes + this.length - this.came, chunk.length - at);
        this.came += part;
        at += part;
      }
      if (this.came >= prefixBytes && this.came === prefixBytes + this.length) {
        this.whole.push(this.came);
        this.came = 0;
        this.length = 0;
      }
    }
    return this.whole.length - before;
  }
}
