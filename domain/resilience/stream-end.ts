import { isObject, parseObject } from './continuation.ts';
import { Needle } from '../sse/needle.ts';
import { eventData } from '../sse/sse.ts';
import { endsWithDone } from '../sse/whole-events.ts';

/**
 * Whether a stream of OpenAI chunks has come to its end: by its last event, `[DONE]`, or, with servers that leave that
 * out, by the reason why it ended, of each choice that was asked for. One choice's reason stands in the last chunk, or
 * in the one before the usage; those of several choices come at any time.
 */
export class StreamEnd {
  /** The client has the last word. */
  isDone = false;
  /** Its last chunk gave a reason; the one before it did. */
  private saysLast = false;
  private saysBefore = false;
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
    if (!isPiece && !endsInObject(events) && this.isNoChunk(events)) return;
    const says = saysFinish(events);
    this.saysBefore = this.saysLast;
    this.saysLast = says;
    if (says && this.finished !== null) noteFinished(events, this.finished);
  }

  /** Looks closely at what is no plain chunk. @returns whether it says nothing of the answer, as a comment does */
  private isNoChunk(events: Uint8Array): boolean {
    if (endsWithDone(events)) {
      this.isDone = true;
      return false;
    }
    const text = new TextDecoder().decode(events);
    if (saysDone.test(text)) this.isDone = true;
    return !hasData.test(text);
  }

  /** Nothing of the answer is missing, but perhaps the last word. */
  get isWhole(): boolean {
    if (this.isDone) return true;
    if (this.finished !== null) return this.finished.size >= this.choices;
    return this.saysLast || this.saysBefore;
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

/** How many answers a request asks for: `n` to each of its prompts. */
export function choicesAsked(fields: Readonly<Record<string, unknown>>): number {
  const { n, prompt } = fields;
  const each = typeof n === 'number' && n >= 1 ? n : 1;
  const isList = Array.isArray(prompt) && prompt.length > 0 && typeof prompt[0] !== 'number';
  return isList ? each * prompt.length : each;
}

const reasonKey = new Needle('"finish_reason"');

/** In a text the key would stand with its quotes escaped. */
function saysFinish(events: Uint8Array): boolean {
  for (let at = reasonKey.indexIn(events); at >= 0; at = reasonKey.indexIn(events, at + reasonKey.length)) {
    let value = skipSpace(events, at + reasonKey.length);
    if (events[value] !== colon) continue;
    value = skipSpace(events, value + 1);
    if (events[value] === quote) return true;
  }
  return false;
}

function skipSpace(bytes: Uint8Array, from: number): number {
  let at = from;
  while (bytes[at] === 0x20 || bytes[at] === 0x09 || bytes[at] === 0x0a || bytes[at] === 0x0d) at += 1;
  return at;
}

const colon = 0x3a;
const quote = 0x22;

function noteFinished(events: Uint8Array, finished: Set<unknown>): void {
  for (const data of eventData(new TextDecoder().decode(events))) {
    const choices: unknown = parseObject(data)?.['choices'];
    if (!Array.isArray(choices)) continue;
    for (const choice of choices) {
      if (isObject(choice) && typeof choice['finish_reason'] === 'string') finished.add(choice['index'] ?? 0);
    }
  }
}
