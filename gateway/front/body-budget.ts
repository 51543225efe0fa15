/**
 * How many bytes of request bodies all connections together may hold. A bound on each body alone would let a hundred
 * of them take the whole machine. Counted is what was set aside for bytes that came, not what a client announces, and
 * until the answer has ended, since the body is kept for further tries. Bodies of strangers, whose key is not known
 * when their head is read, share a part of it: who has no key cannot take all the room from those who have one.
 */
export class BodyBudget {
  readonly bytesMax: number;
  readonly strangersBytesMax: number;
  /** Held now; of strangers' among them. */
  bytes = 0;
  strangersBytes = 0;
  /** Bodies that were refused. */
  refused = 0;

  constructor(bytesMax: number, strangersBytesMax = bytesMax) {
    this.bytesMax = bytesMax;
    this.strangersBytesMax = strangersBytesMax;
  }

  /** @returns false, and counts a refusal, when so many more would be too many */
  take(bytes: number, isStranger = false): boolean {
    const isTooMuch = isStranger && this.strangersBytes + bytes > this.strangersBytesMax;
    if (isTooMuch || this.bytes + bytes > this.bytesMax) {
      this.refused += 1;
      return false;
    }
    this.bytes += bytes;
    if (isStranger) this.strangersBytes += bytes;
    return true;
  }

  /** For bytes that are here already: they are counted and held back otherwise, by not reading on. */
  force(bytes: number): void {
    this.bytes += bytes;
  }

  give(bytes: number, isStranger = false): void {
    this.bytes -= bytes;
    if (isStranger) this.strangersBytes -= bytes;
  }
}
