import { eventData } from '../../domain/sse/sse.ts';
import { WholeEvents, wholeEventsLength } from '../../domain/sse/whole-events.ts';
import { isEventStream, valueOf, without } from '../flat-headers.ts';
import type { Exchange } from '../front/exchange.ts';
import { WrappedExchange } from '../front/wrapped-exchange.ts';
import { asBuffer } from '../as-buffer.ts';
import { toldUsage } from './told-usage.ts';
import type { UsageTap } from './usage-tap.ts';

/**
 * Streams tell their usage only when asked (`stream_options.include_usage`). Where tokens cost something or are
 * limited and the client did not ask, the gateway asks in its place and keeps the extra event for itself: an estimate
 * by counting events would be wrong for every server that puts several tokens into one. A client that sends
 * `stream_options` of its own without usage keeps them (a second key of the same name is refused by some servers);
 * its streams, those of servers that do not know the option, and those that are cut are estimated.
 */
const asked = Buffer.from('"stream_options":{"include_usage":true},');
const openBrace = 0x7b;

/** @returns the body with the question put first; null when it is no JSON object */
export function askForUsage(body: Buffer): Buffer | null {
  const open = body.indexOf(openBrace);
  if (open < 0) return null;
  return Buffer.concat([body.subarray(0, open + 1), asked, body.subarray(open + 1)]);
}

const eventBytesMax = 1024 * 1024;

/** Leaves out the one event that has a usage and no choices. */
export class UsageHidingExchange extends WrappedExchange {
  private readonly events = new WholeEvents(eventBytesMax);
  private readonly tap: UsageTap;
  private isStream = false;
  /** `events` keeps the begin of an event, or gave one without its end: told here, since its memory is cold. */
  private isAmidEvent = false;

  /** @param tap that sees each piece before it comes here, if as another one */
  constructor(inner: Exchange, tap: UsageTap) {
    super(inner);
    this.tap = tap;
  }

  override start(status: number, headers: string[]): void {
    this.isStream =
      isEventStream(headers) && (valueOf(headers, 'content-encoding') ?? 'identity') === 'identity';
    this.inner.start(status, this.isStream ? without(headers, ['content-length']) : headers);
  }

  override write(chunk: Uint8Array | string, isFinal = false): boolean {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    const isPlain = this.tap.takePlain(bytes);
    if (!this.isStream || (isPlain && !this.isAmidEvent)) return this.inner.write(bytes, isFinal);
    const { events } = this;
    const whole = events.push(bytes);
    this.isAmidEvent = events.hasRest || events.isWithin;
    if (whole === null) return true;
    const rest = withoutUsage(asBuffer(whole));
    return rest.length === 0 ? true : this.inner.write(rest, isFinal && !events.hasRest);
  }

  override end(): void {
    const rest = this.events.takeRest();
    if (rest !== null) this.inner.write(rest);
    this.inner.end();
  }
}

/** @param events whole ones, or a piece of one that is too long */
function withoutUsage(events: Buffer): Buffer {
  let found = toldUsage(events);
  if (found < 0) return events;
  const kept: Buffer[] = [];
  let from = 0;
  while (found >= 0) {
    const begin = wholeEventsLength(events.subarray(0, found));
    const end = eventEnd(events, found);
    if (isUsageAlone(events.subarray(begin, end))) {
      kept.push(events.subarray(from, begin));
      from = end;
    }
    found = toldUsage(events, end);
  }
  if (kept.length === 0) return events;
  kept.push(events.subarray(from));
  return Buffer.concat(kept);
}

function eventEnd(events: Buffer, from: number): number {
  const lf = events.indexOf('\n\n', from);
  const crlf = events.indexOf('\r\n\r\n', from);
  if (lf < 0 && crlf < 0) return events.length;
  return lf < 0 || (crlf >= 0 && crlf < lf) ? crlf + 4 : lf + 2;
}

function isUsageAlone(event: Buffer): boolean {
  const [data] = eventData(event.toString('utf8'));
  try {
    const chunk: unknown = JSON.parse(data ?? '');
    if (typeof chunk !== 'object' || chunk === null || !('choices' in chunk) || !('usage' in chunk))
      return false;
    const { choices, usage } = chunk;
    return Array.isArray(choices) && choices.length === 0 && typeof usage === 'object' && usage !== null;
  } catch {
    return false;
  }
}
