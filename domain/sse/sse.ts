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
  private held = '';
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
    const events: SseEvent[] = [];
    let text = this.held + this.decoder.decode(chunk, { stream: true });
    if (this.wasCarriageReturn && text.startsWith('\n')) text = text.slice(1);
    if (text !== '') this.wasCarriageReturn = false;
    let from = 0;
    for (let end = lineEnd(text, from); end >= 0; end = lineEnd(text, from)) {
      this.line(text.slice(from, end), events);
      from = end + 1;
      if (text[end] !== '\r') continue;
      if (text[from] === '\n') from += 1;
      else if (from === text.length) this.wasCarriageReturn = true;
    }
    this.held = text.slice(from);
    if (this.size + this.held.length > this.charactersMax)
      throw new Error(`an event of the stream is longer than ${this.charactersMax} characters`);
    return events;
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

function lineEnd(text: string, from: number): number {
  const lf = text.indexOf('\n', from);
  const cr = text.indexOf('\r', from);
  if (cr < 0) return lf;
  return lf < 0 ? cr : Math.min(lf, cr);
}
