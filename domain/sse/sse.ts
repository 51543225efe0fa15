/**
 * Server-sent events taken apart as their bytes come (WHATWG HTML section 9.2.6): any chunk boundary, also inside a
 * character or between CR and LF, gives the same events. Comments, `id` and `retry` are dropped; `data` lines of one
 * event are joined by line feeds.
 */
export interface SseEvent {
  /** '' when the event has no name. */
  readonly event: string;
  readonly data: string;
}

export class SseParser {
  private readonly decoder = new TextDecoder();
  private readonly charactersMax: number;
  /** Of a line that has not ended. */
  private held: string[] = [];
  private heldLength = 0;
  private event = '';
  private data: string[] = [];
  private size = 0;
  private wasCarriageReturn = false;

  /** @param charactersMax of one event; a longer one is an error, so that no server can fill memory */
  constructor(charactersMax: number) {
    this.charactersMax = charactersMax;
  }

  /** @throws Error when an event grows beyond its bound */
  push(chunk: Uint8Array): SseEvent[] {
    return this.pushText(this.decoder.decode(chunk, { stream: true }));
  }

  /** The same for text that is decoded already. */
  pushText(text: string): SseEvent[] {
    const events: SseEvent[] = [];
    let from = this.wasCarriageReturn && text.startsWith('\n') ? 1 : 0;
    if (text !== '') this.wasCarriageReturn = false;
    let lf = text.indexOf('\n', from);
    let cr = text.indexOf('\r', from);
    while (lf >= 0 || cr >= 0) {
      const isFeed = cr < 0 || (lf >= 0 && lf < cr);
      const end = isFeed ? lf : cr;
      this.line(this.takeHeld() + text.slice(from, end), events);
      from = isFeed ? end + 1 : this.behindReturn(text, end + 1);
      if (lf >= 0 && lf < from) lf = text.indexOf('\n', from);
      if (cr >= 0 && cr < from) cr = text.indexOf('\r', from);
    }
    this.hold(text.slice(from));
    return events;
  }

  /** A carriage return and the line feed behind it end one line; at the text's end the next one shows. */
  private behindReturn(text: string, at: number): number {
    this.wasCarriageReturn = at === text.length;
    return text[at] === '\n' ? at + 1 : at;
  }

  private hold(rest: string): void {
    if (rest !== '') this.held.push(rest);
    this.heldLength += rest.length;
    if (this.size + this.heldLength > this.charactersMax)
      throw new Error(`an event of the stream is longer than ${this.charactersMax} characters`);
  }

  private takeHeld(): string {
    if (this.heldLength === 0) return '';
    const held = this.held.join('');
    this.held = [];
    this.heldLength = 0;
    return held;
  }

  private line(line: string, events: SseEvent[]): void {
    if (line === '') {
      if (this.data.length > 0) events.push({ event: this.event, data: this.data.join('\n') });
      this.event = '';
      this.data = [];
      this.size = 0;
      return;
    }
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (name === 'data') {
      this.data.push(value);
      this.size += value.length + 1;
    } else if (name === 'event') this.event = value;
  }
}

/** The `data` of each event in a text of whole events, its last one's blank line aside. */
export function eventData(text: string): string[] {
  const events = new SseParser(Infinity).pushText(`${text}\n\n`);
  return events.map(({ data }) => data);
}
