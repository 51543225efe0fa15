import { SseParser } from '../sse/sse.ts';
import type { SseEvent } from '../sse/sse.ts';
import { parseObject } from './continuation.ts';

/**
 * Whether a stream of OpenAI's Responses API has come to its end: by one of the events that end it, which is named in
 * a line of its own or, by servers that leave that out, by the `type` of its JSON. Events hold whole responses, and
 * those what the request said (metadata, tools): the same words anywhere else in an event are no end.
 */
const lastTypes = 'response\\.(?:completed|failed|incomplete|cancelled)|error';
const isLastType = new RegExp(`^(?:${lastTypes})$`);
/** Most events have none of this, and are not looked at more closely. */
const soundsLast = new RegExp(`${lastTypes}|\\[DONE\\]`);
const beginsAsLast = new RegExp(`^data: ?\\{\\s*"type"\\s*:\\s*"(?:${lastTypes})"`, 'm');

export class ResponsesEnd {
  /** The client has the last word. */
  isDone = false;
  /** Number of the event that would come next. */
  next = 0;
  private hasBegun = false;
  /** What comes next begins within an event. */
  private isWithin = false;

  /** There is no other sign that it is whole. */
  get isWhole(): boolean {
    return this.isDone;
  }

  /** @param isPiece it ends within an event, which is too long to be passed as one */
  pass(events: Uint8Array, isPiece: boolean): void {
    const text = new TextDecoder().decode(events);
    for (const [, number] of text.matchAll(/"sequence_number"\s*:\s*(\d{1,15})/g))
      this.next = Number(number) + 1;
    if (!this.hasBegun && soundsLast.test(text)) {
      // The rest of a line is none: it is made a comment.
      this.hasBegun = saysLast(this.isWithin ? `:${text}` : text, isPiece);
    }
    this.isWithin = isPiece;
    this.isDone = this.hasBegun && !isPiece;
  }
}

function saysLast(text: string, isPiece: boolean): boolean {
  // The JSON of a piece is not whole: without a line of its own its type is known only where that comes first.
  if (isPiece && beginsAsLast.test(text)) return true;
  return new SseParser(Infinity).pushText(`${text}\n\n`).some(isLast);
}

function isLast({ event, data }: SseEvent): boolean {
  if (data === '[DONE]') return true;
  const type = event === '' || event === 'message' ? parseObject(data)?.['type'] : event;
  return typeof type === 'string' && isLastType.test(type);
}
