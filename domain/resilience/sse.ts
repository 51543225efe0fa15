/**
 * Server-sent events as bytes: where a run of whole events ends, and what they say. Chunks of a connection end
 * anywhere, also inside a character, so nothing is decoded before its event is whole. Lines end with LF or CRLF;
 * a lone CR, which the standard allows and no model server sends, ends no line here.
 */
const lf = 0x0a;
const cr = 0x0d;

/** @returns the length of the longest beginning of `bytes` that consists of whole events; 0: none is whole */
export function wholeEventsLength(bytes: Uint8Array): number {
  for (let at = bytes.length - 1; at > 0; at -= 1) {
    if (bytes[at] !== lf) continue;
    const before = bytes[at - 1];
    if (before === lf) return at + 1;
    if (before === cr && bytes[at - 2] === lf) return at + 1;
  }
  return 0;
}

/** The `data` of each event in a text of whole events; events without data (comments) are left out. */
export function eventData(text: string): string[] {
  const found: string[] = [];
  let data: string | null = null;
  for (const line of text.split(/\r?\n/)) {
    if (line === '') {
      if (data !== null) found.push(data);
      data = null;
      continue;
    }
    if (!line.startsWith('data:')) continue;
    const value = line.startsWith('data: ') ? line.slice(6) : line.slice(5);
    data = data === null ? value : `${data}\n${value}`;
  }
  if (data !== null) found.push(data);
  return found;
}

/** Collects chunks until their events are whole. */
export class WholeEvents {
  private pending: Uint8Array | null = null;
  private readonly bytesMax: number;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /**
   * @returns the whole events that this chunk completes, perhaps the chunk itself; null: none yet. An event that
   * grows beyond the bound is given in pieces.
   */
  push(chunk: Uint8Array): Uint8Array | null {
    const bytes = this.pending === null ? chunk : joined(this.pending, chunk);
    const length = wholeEventsLength(bytes);
    if (length === bytes.length || bytes.length - length > this.bytesMax) {
      this.pending = null;
      return bytes;
    }
    this.pending = new Uint8Array(bytes.subarray(length)); // a copy: the connection may reuse its bytes
    return length === 0 ? null : bytes.subarray(0, length);
  }

  /** What is left of an event that never became whole; it is forgotten. */
  takeRest(): Uint8Array | null {
    const rest = this.pending;
    this.pending = null;
    return rest;
  }
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  const all = new Uint8Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}

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
