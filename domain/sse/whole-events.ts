/**
 * Server-sent events as bytes: where a run of whole events ends. Chunks of a connection end anywhere, also inside a
 * character, so nothing is decoded before its event is whole. Lines end with LF or CRLF; a lone CR, which the
 * standard allows and no model server sends, ends no event here.
 */
const lf = 0x0a;
const cr = 0x0d;

/**
 * @param from no event ends before this byte
 * @returns the length of the longest beginning of `bytes` that consists of whole events; 0: none is whole
 */
export function wholeEventsLength(bytes: Uint8Array, from = 0): number {
  const first = Math.max(1, from);
  for (let at = bytes.length - 1; at >= first; at -= 1) {
    if (bytes[at] !== lf) continue;
    const before = bytes[at - 1];
    if (before === lf) return at + 1;
    if (before === cr && bytes[at - 2] === lf) return at + 1;
  }
  return 0;
}

/** Whether the last byte ends an event, as most servers end theirs. False with CRLF: it is not known. */
export function endsEvent(bytes: Uint8Array): boolean {
  const { length } = bytes;
  return bytes[length - 1] === lf && bytes[length - 2] === lf;
}

/** Collects chunks until their events are whole. */
export class WholeEvents {
  /** The begin of an event, in memory that doubles as it grows: each byte is looked at once, and copied a few times. */
  private held = none;
  private size = 0;
  /** What was given last ends within an event. */
  isWithin = false;
  private readonly bytesMax: number;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /**
   * @returns the whole events that this chunk completes, perhaps the chunk itself, else memory that is not used again;
   * null: none yet. An event that grows beyond the bound is given in pieces.
   */
  push(chunk: Uint8Array): Uint8Array | null {
    const from = this.size;
    const bytes = from === 0 ? chunk : this.append(chunk);
    const length = wholeEventsLength(bytes, from);
    if (length === bytes.length) {
      this.forget();
      this.isWithin = false;
      return bytes;
    }
    if (bytes.length - length > this.bytesMax) return this.takePiece(bytes);
    if (length === 0 && from > 0) return null;
    this.held = new Uint8Array(bytes.subarray(length)); // a copy: the connection may reuse its bytes
    this.size = this.held.length;
    if (length === 0) return null;
    this.isWithin = false;
    return bytes.subarray(0, length);
  }

  /** A begin of an event waits for its end. */
  get hasRest(): boolean {
    return this.size > 0;
  }

  /** What is left of an event that never became whole; it is forgotten. */
  takeRest(): Uint8Array | null {
    const rest = this.size === 0 ? null : this.held.subarray(0, this.size);
    this.forget();
    return rest;
  }

  /** Line ends at its end stay here: the next chunk may begin with the blank line that ends the event. */
  private takePiece(bytes: Uint8Array): Uint8Array {
    let end = bytes.length;
    while (end > bytes.length - 3 && (bytes[end - 1] === lf || bytes[end - 1] === cr)) end -= 1;
    this.held = new Uint8Array(bytes.subarray(end));
    this.size = this.held.length;
    this.isWithin = true;
    return bytes.subarray(0, end);
  }

  private append(chunk: Uint8Array): Uint8Array {
    const size = this.size + chunk.length;
    if (size > this.held.length) {
      const grown = new Uint8Array(Math.max(size, 2 * this.held.length));
      grown.set(this.held.subarray(0, this.size));
      this.held = grown;
    }
    this.held.set(chunk, this.size);
    this.size = size;
    return this.held.subarray(0, size);
  }

  private forget(): void {
    this.held = none;
    this.size = 0;
  }
}

const none = new Uint8Array(0);
const done = [0x5b, 0x44, 0x4f, 0x4e, 0x45, 0x5d]; // [DONE]

/** Whether bytes end in OpenAI's last event, line ends aside. */
export function endsWithDone(bytes: Uint8Array): boolean {
  let at = bytes.length - 1;
  while (at >= 0 && (bytes[at] === lf || bytes[at] === cr)) at -= 1;
  if (at < done.length - 1) return false;
  for (let back = 0; back < done.length; back += 1) {
    if (bytes[at - back] !== done[done.length - 1 - back]) return false;
  }
  return true;
}
