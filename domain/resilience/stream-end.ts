import { isObject, parseObject } from './continuation.ts';
import { eventData } from '../sse/sse.ts';
import { endsWithDone } from '../sse/whole-events.ts';

/**
 * Whether a stream of OpenAI chunks has come to its end: by its last event, `[DONE]`, or, with servers that leave that
 * out, by the reason why it ended, of each choice that was asked for. One choice's reason stands in the last chunk, or
 * in the one before the usage, and is looked for when the stream is over; those of several choices come at any time,
 * so they are noted as they pass.
 */
export class StreamEnd {
  /** The client has the last word. */
  isDone = false;
  private last = new Copy();
  private lastButOne = new Copy();
  private readonly choices: number;
  /** Choices that gave their reason; null where there is but one. */
  private readonly finished: Set<unknown> | null;

  /** @param choices that were asked for */
  constructor(choices: number) {
    this.choices = choices;
    this.finished = choices > 1 ? new Set() : null;
  }

  /**
   * @param events whole ones; they hold for this call alone
   * @param isPiece they end within an event, whose text may sound like the last word
   */
  pass(events: Uint8Array, isPiece = false): void {
    if (!isPiece) {
      if (endsWithDone(events)) this.isDone = true;
      else if (!endsInObject(events)) {
        const text = new TextDecoder().decode(events);
        if (saysDone.test(text)) this.isDone = true;
        if (!hasData.test(text)) return; // a comment says nothing of the answer
      }
    }
    const oldest = this.lastButOne;
    this.lastButOne = this.last;
    this.last = oldest;
    oldest.take(events);
    if (this.finished !== null && saysFinish(events)) noteFinished(events, this.finished);
  }

  /** Nothing of the answer is missing, but perhaps the last word. */
  get isWhole(): boolean {
    if (this.isDone) return true;
    if (this.finished !== null) return this.finished.size >= this.choices;
    return saysFinish(this.last.bytes()) || saysFinish(this.lastButOne.bytes());
  }
}

const saysDone = /^data: ?\[DONE\]\r?$/m;
const hasData = /^data:/m;

/** As events with data do, line ends aside; what does not is rare, and looked at closely. */
function endsInObject(events: Uint8Array): boolean {
  let at = events.length - 1;
  while (at >= 0 && (events[at] === 0x0a || events[at] === 0x0d)) at -= 1;
  return events[at] === 0x7d;
}

/** A copy of what was taken last, in memory that is used again. */
class Copy {
  private memory = new Uint8Array(0);
  private length = 0;

  take(bytes: Uint8Array): void {
    if (bytes.length > this.memory.length) this.memory = new Uint8Array(Math.max(256, bytes.length));
    this.memory.set(bytes);
    this.length = bytes.length;
  }

  bytes(): Uint8Array {
    return this.memory.subarray(0, this.length);
  }
}

/** How many answers a request asks for: `n` to each of its prompts. */
export function choicesAsked(fields: Readonly<Record<string, unknown>>): number {
  const { n, prompt } = fields;
  const each = typeof n === 'number' && n >= 1 ? n : 1;
  const isList = Array.isArray(prompt) && prompt.length > 0 && typeof prompt[0] !== 'number';
  return isList ? each * prompt.length : each;
}

/** In a text it would stand with its quotes escaped. */
function saysFinish(events: Uint8Array): boolean {
  return /"finish_reason"\s*:\s*"/.test(new TextDecoder().decode(events));
}

function noteFinished(events: Uint8Array, finished: Set<unknown>): void {
  for (const data of eventData(new TextDecoder().decode(events))) {
    const choices: unknown = parseObject(data)?.['choices'];
    if (!Array.isArray(choices)) continue;
    for (const choice of choices) {
      if (isObject(choice) && typeof choice['finish_reason'] === 'string') finished.add(choice['index'] ?? 0);
    }
  }
}
