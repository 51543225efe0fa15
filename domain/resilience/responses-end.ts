import { endsWithDone } from '../sse/whole-events.ts';

/**
 * Whether a stream of OpenAI's Responses API has come to its end: by one of the events that end it, whose name stands in
 * a line of its own, in its JSON, or in both. In a text these words would stand with their quotes escaped.
 */
const lastEvents = 'response\\.(?:completed|failed|incomplete|cancelled)';
const saysLast = new RegExp(
  `^event: ?(?:${lastEvents}|error)\\r?$|"type"\\s*:\\s*"${lastEvents}"|^data: ?\\{\\s*"type"\\s*:\\s*"error"`,
  'm',
);

export class ResponsesEnd {
  /** The client has the last word. */
  isDone = false;
  /** Number of the event that would come next. */
  next = 0;
  private hasBegun = false;

  /** There is no other sign that it is whole. */
  get isWhole(): boolean {
    return this.isDone;
  }

  /** @param isPiece it ends within an event, which is too long to be passed as one */
  pass(events: Uint8Array, isPiece: boolean): void {
    const text = new TextDecoder().decode(events);
    for (const [, number] of text.matchAll(/"sequence_number"\s*:\s*(\d{1,15})/g))
      this.next = Number(number) + 1;
    this.hasBegun ||= saysLast.test(text) || endsWithDone(events);
    this.isDone = this.hasBegun && !isPiece;
  }
}
