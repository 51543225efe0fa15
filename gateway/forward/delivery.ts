import { answerKind, isResponsesCall } from '../../domain/resilience/continuation.ts';
import { ResponsesEnd } from '../../domain/resilience/responses-end.ts';
import { StreamEnd, choicesAsked } from '../../domain/resilience/stream-end.ts';
import { WholeEvents, endsEvent, endsWithDone } from '../../domain/sse/whole-events.ts';
import { streamErrorEvent } from '../errors.ts';
import type { Refusal } from '../errors.ts';
import type { Exchange } from '../front/exchange.ts';
import { toldHead } from '../front/headers.ts';
import type { HeaderFields } from '../header-fields.ts';
import type { GatewayLimits } from '../limits.ts';
import type { Passage } from '../passage.ts';
import type { ResponseTap } from '../step.ts';
import type { ToldHead, ToldHeads } from '../told-head.ts';
import { Timed } from '../timer-wheel.ts';
import type { TimerWheel } from '../timer-wheel.ts';
import type { BodySink } from '../upstream/upstream.ts';
import { copyOf } from './copies.ts';
import type { Guard } from './guards.ts';
import { midStreamOf } from './mid-stream.ts';
import type { MidStream } from './mid-stream.ts';
import type { Try } from './try.ts';

export interface DeliveryDeps {
  readonly limits: GatewayLimits;
  readonly timer: TimerWheel;
  /** Of the service that answers. */
  readonly guard: Guard;
  /** The client has taken nothing for too long. */
  onStalled(): void;
  /** A server that was to go on with a stream says in it that it cannot. */
  onStreamFailed(source: Try): void;
}

/** An event beyond this is passed on in pieces. */
const eventBytesMax = 1024 * 1024;

/**
 * An answer on its way to the client: held back while small, so that taps may add headers and a broken one can be
 * asked again; in whole events where it is a stream of OpenAI chunks, so that an error always has a line of its own;
 * else as it comes. Slow clients hold their server back.
 */
export class Delivery extends Timed implements BodySink {
  // First what each piece needs: fields lie in memory in this order.
  private held: {
    readonly status: number;
    readonly told: ToldHead;
    readonly parts: Uint8Array[];
  } | null = null;
  /** Events of an OpenAI stream, and how it ends; null for all other answers. */
  private readonly events: WholeEvents | null;
  /** `events` keeps the begin of an event, or the client has one without its end: told here, since its memory is cold. */
  private isAmidEvent = false;
  readonly midStream: MidStream | null;
  private readonly streamEnd: StreamEnd | ResponsesEnd | null;
  private tap: ResponseTap | null;
  private readonly exchange: Exchange;
  /** The try whose bytes come. */
  source: Try;
  private readonly deps: DeliveryDeps;
  private readonly passage: Passage;
  private readonly isEventStream: boolean;
  private isBlocked = false;
  private drained: (() => void) | null = null;

  constructor(deps: DeliveryDeps, passage: Passage, source: Try, headers: HeaderFields) {
    super();
    this.deps = deps;
    this.passage = passage;
    this.exchange = passage.exchange;
    this.tap = passage.tap;
    this.source = source;
    const type = headers['content-type'];
    const encoding = headers['content-encoding'] ?? 'identity';
    // Compressed events are bytes like any others: nothing can be read in them or written between them.
    this.isEventStream =
      typeof type === 'string' && type.startsWith('text/event-stream') && encoding === 'identity';
    const isOpenAi = this.isEventStream && answerKind(passage.operation.head) !== null;
    const isResponses = this.isEventStream && isResponsesCall(passage.operation);
    this.events = isOpenAi || isResponses ? new WholeEvents(eventBytesMax) : null;
    this.midStream = isOpenAi ? midStreamOf(deps.guard.settings.midStream, passage, headers) : null;
    if (isOpenAi) this.streamEnd = new StreamEnd(choicesAsked(passage.fields ?? {}));
    else this.streamEnd = isResponses ? new ResponsesEnd() : null;
  }

  /** Nothing of the answer has left the gateway: another may take its place. */
  get isHeld(): boolean {
    return this.held !== null;
  }

  /** The client has the last word of an OpenAI stream: whatever happens now, it is whole. */
  get isDone(): boolean {
    return this.streamEnd?.isDone === true;
  }

  /** The client has the begin of an event that its server has still to end, as far as is known. */
  get isWithinEvent(): boolean {
    return this.events === null || this.events.isWithin;
  }

  /** An OpenAI stream that never said it was at its end, nor why. Asked when its server is done. */
  isTruncated(): boolean {
    if (this.events === null) return false;
    const rest = this.events.takeRest();
    const isOurs = this.exchange.status === 200;
    // A last event without its blank line counts when it is the last word; half an event is nobody's.
    const isWithin = this.isWithinEvent;
    if (rest !== null && (!isOurs || (!isWithin && endsWithDone(rest)))) this.passOn(rest, false, isWithin);
    if (!isOurs) return false;
    // Whatever it said before: the client has half an event, to which no last word may be glued.
    if (isWithin) return true;
    if (this.isDone) return false;
    if (this.streamEnd?.isWhole !== true) return true;
    this.sayDone();
    return false;
  }

  /** @param tolds of all answers with these headers */
  start(status: number, headers: HeaderFields, tolds: ToldHeads): void {
    const { tap } = this;
    // What may be said in other words, or with one more, has no length that is known.
    const told =
      this.events === null
        ? (tolds.whole ??= toldHead(headers))
        : (tolds.streamed ??= toldHead({ ...headers, 'content-length': undefined }));
    if (tap !== null) {
      const length = told.headers['content-length'];
      if (typeof length === 'string' && Number(length) <= this.deps.limits.heldAnswerBytesMax) {
        this.held = { status, told, parts: [] };
        return;
      }
      tap.onHead(status, told.headers);
    }
    this.sendHead(status, told);
  }

  /** @param isLast `end` follows at once, and the bytes hold until then */
  onData(chunk: Uint8Array, isLast = false): void {
    if (this.held !== null) this.held.parts.push(isLast ? chunk : copyOf(chunk));
    else if (this.events !== null) this.passEvents(this.events, chunk, isLast);
    else this.pass(chunk, isLast);
  }

  /** The server has said all. */
  end(): void {
    this.finish();
    if (this.held !== null) this.sendHeld(this.held);
    this.endTap(true);
    this.exchange.end();
  }

  /** A stream that said its last word, but not that it was the last. */
  sayDone(): void {
    const lastWord = Buffer.from('data: [DONE]\n\n');
    this.streamEnd?.pass(lastWord, false);
    this.pass(lastWord);
  }

  /** What was held is forgotten, and no tap has seen it. */
  forget(): void {
    this.held = null;
    this.finish();
  }

  /** The next server goes on where this one was cut; what it left of an event is dropped. */
  goOn(source: Try): void {
    this.events?.takeRest();
    this.isAmidEvent = this.events?.isWithin === true;
    this.source = source;
    if (this.isBlocked) source.pause();
  }

  /** The answer cannot be whole: an event says so where there are events, else the connection is cut. */
  breakOff(refusal: Refusal): void {
    const { exchange } = this;
    this.passage.refused = refusal.code;
    this.passage.isCut = true;
    this.finish();
    this.endTap(false);
    if (!this.isEventStream) exchange.cut();
    else {
      const { streamEnd } = this;
      const event = streamErrorEvent(refusal, streamEnd instanceof ResponsesEnd ? streamEnd.next : null);
      // Behind half an event the end of its line and of itself: then no client can read the error as a part of it.
      exchange.write(this.isWithinEvent ? `\n\n${event}` : event);
      exchange.end();
    }
  }

  /** The client is gone, or does not matter any more. */
  abandon(): void {
    this.finish();
    this.endTap(false);
  }

  onTimeout(): void {
    this.deps.onStalled();
  }

  /** What taps add as headers (usage, cost) is known now. */
  private sendHeld(held: NonNullable<Delivery['held']>): void {
    const { tap } = this;
    this.held = null;
    if (tap !== null) {
      tap.onHead(held.status, held.told.headers);
      for (const part of held.parts) tap.onData(part);
      this.endTap(true);
    }
    this.sendHead(held.status, held.told);
    for (const part of held.parts) this.exchange.write(part);
  }

  private sendHead(status: number, told: ToldHead): void {
    const { passage } = this;
    passage.addHeader('x-request-id', passage.requestId);
    this.exchange.startWith(status, told, passage.responseHeaders ?? []);
  }

  private passEvents(events: WholeEvents, chunk: Uint8Array, isLast: boolean): void {
    if (!this.isAmidEvent && endsEvent(chunk)) this.passOn(chunk, isLast, false);
    else {
      const whole = events.push(chunk);
      const { hasRest, isWithin } = events;
      this.isAmidEvent = hasRest || isWithin;
      if (whole !== null) this.passOn(whole, isLast && !hasRest, isWithin);
    }
    if (this.midStream?.hasFailed === true) this.deps.onStreamFailed(this.source);
  }

  /**
   * @param isLast nothing comes behind it but, where it is not said yet, the last word
   * @param isWithin it ends within an event
   */
  private passOn(events: Uint8Array, isLast: boolean, isWithin: boolean): void {
    const { midStream } = this;
    const bytes = midStream === null ? events : midStream.pass(events);
    if (bytes === null) return;
    this.streamEnd?.pass(bytes, isWithin);
    this.pass(bytes, isLast && this.isDone && !isWithin);
  }

  /** @param isFinal nothing follows but the end */
  private pass(bytes: Uint8Array, isFinal = false): void {
    const { exchange } = this;
    this.tap?.onData(bytes);
    if (!exchange.write(bytes, isFinal)) this.block();
  }

  /** Until the client takes bytes again. */
  private block(): void {
    this.source.pause();
    if (this.isBlocked) return;
    this.isBlocked = true;
    this.deps.timer.arm(this, this.deps.limits.clientStallMs);
    this.drained ??= () => {
      this.isBlocked = false;
      this.deps.timer.remove(this);
      this.source.resume();
    };
    this.exchange.onDrain(this.drained);
  }

  private endTap(isWhole: boolean): void {
    const { tap } = this;
    this.tap = null;
    this.passage.tap = null;
    tap?.onEnd(isWhole);
  }

  private finish(): void {
    this.deps.timer.remove(this);
  }
}
