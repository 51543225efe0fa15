/**
 * Views of the one buffer that all plain sockets read into: tokens come in few lengths, and to make a view costs more
 * than to find one. Who gets a view may use it until the next read alone, as ever.
 */
const endsMax = 1024;

export class ReadViews {
  private readonly bytes: Buffer;
  /** By their end. */
  private readonly kept = new Array<Buffer | null>(endsMax).fill(null);

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  of(from: number, end: number): Buffer {
    const { bytes } = this;
    if (end >= endsMax) return bytes.subarray(from, end);
    const kept = this.kept[end] ?? null;
    if (kept !== null && kept.length === end - from) return kept;
    return (this.kept[end] = bytes.subarray(from, end));
  }
}
