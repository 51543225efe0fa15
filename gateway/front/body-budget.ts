/**
 * How many bytes of request bodies all connections together may hold. A bound on each body alone would let a hundred
 * of them take the whole machine. Counted is what was set aside for bytes that came, not what a client announces, and
 * until the answer has ended, since the body is kept for further tries.
 */
export class BodyBudget {
  readonly bytesMax: number;
  /** Held now. */
  bytes = 0;
  /** Bodies that were refused. */
  refused = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** @returns false, and counts a refusal, when so many more would be too many */
  take(bytes: number): boolean {
    if (this.bytes + bytes > this.bytesMax) {
      this.refused += 1;
      return false;
    }
    this.bytes += bytes;
    return true;
  }

  /** For bytes that are here already: they are counted and held back otherwise, by not reading on. */
  force(bytes: number): void {
    this.bytes += bytes;
  }

  give(bytes: number): void {
    this.bytes -= bytes;
  }
}
