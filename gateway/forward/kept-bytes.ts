/** Bytes one after another, up to a bound, in memory that doubles as it grows. */
export class KeptBytes {
  private memory = none;
  private size = 0;
  private isOver = false;
  private readonly bytesMax: number;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** More came than may be kept: nothing is. */
  get isTooMuch(): boolean {
    return this.isOver;
  }

  add(bytes: Uint8Array): void {
    if (this.isOver) return;
    const size = this.size + bytes.length;
    if (size > this.bytesMax) {
      this.isOver = true;
      this.memory = none;
      this.size = 0;
      return;
    }
    if (size > this.memory.length) this.grow(size);
    this.memory.set(bytes, this.size);
    this.size = size;
  }

  text(): string {
    return this.memory.toString('utf8', 0, this.size);
  }

  private grow(size: number): void {
    const grown = Buffer.allocUnsafeSlow(
      Math.min(this.bytesMax, Math.max(size, leastBytes, 2 * this.memory.length)),
    );
    grown.set(this.memory.subarray(0, this.size));
    this.memory = grown;
  }
}

const none = Buffer.alloc(0);
const leastBytes = 1024;
