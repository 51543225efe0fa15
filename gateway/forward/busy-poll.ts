import type { Registry } from 'prom-client';
import { plainMetrics } from '../observe/plain-metrics.ts';

/**
 * Busy polling, as network drivers and low-latency clients do it: while an answer is due within moments, the event loop
 * looks for it again and again in place of going to sleep. To wake a sleeping (virtual) CPU takes 30 to 60 us and leaves
 * its caches cold, which is more than a small model's answer takes. It is done only for servers whose mean time to the
 * first byte is short, each time for no longer than twice that mean, and never for more than a share of all time: slow
 * servers (nearly all LLMs) and busy gateways are not polled for.
 */
export interface BusyPollOptions {
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  /** Of one core's time, at most; 0: never. */
  readonly shareMax: number;
  /** Calls in the next turn of the event loop, without sleeping before it. Default: setImmediate. */
  readonly again?: (look: () => void) => void;
}

export class BusyPoll {
  /** Times that the loop stayed awake, for one answer or several; those that ended before an answer came. */
  polls = 0;
  inVain = 0;
  /** Stayed awake so long, all together. */
  spentMs = 0;
  private readonly options: BusyPollOptions;
  private readonly again: (look: () => void) => void;
  /** Answers that the poll which is on waits for. */
  private awaited = 0;
  private isOn = false;
  /** Of the poll that is on, or was last. */
  private number = 0;
  private sinceMs = 0;
  private untilMs = 0;
  /** What the share allows now, as it was at `refilledMs`. */
  private spareMs = savedMsMax;
  private refilledMs: number;

  constructor(options: BusyPollOptions) {
    this.options = options;
    this.again = options.again ?? setImmediate;
    this.refilledMs = options.nowMs();
  }

  /**
   * A request goes out.
   * @param meanMs its server's mean time to the first byte; below 0: not known
   * @returns what `end` is to be told when its answer begins or is not waited for any more; 0: nothing
   */
  begin(nowMs: number, meanMs: number): number {
    if (meanMs < 0 || meanMs > meanMsMax || this.options.shareMax <= 0) return 0;
    const untilMs = nowMs + 2 * meanMs;
    if (this.isOn) this.untilMs = Math.max(this.untilMs, untilMs);
    else {
      this.refill(nowMs);
      if (this.spareMs <= 0) return 0;
      this.isOn = true;
      this.number += 1;
      this.awaited = 0;
      this.polls += 1;
      this.sinceMs = nowMs;
      this.untilMs = untilMs;
      this.again(this.look);
    }
    this.awaited += 1;
    return this.number;
  }

  /** @param number that `begin` gave; a poll that is over does not mind */
  end(number: number): void {
    if (this.isOn && number === this.number) this.awaited -= 1;
  }

  private readonly look = (): void => {
    const nowMs = this.options.nowMs();
    const spentMs = nowMs - this.sinceMs;
    if (this.awaited > 0 && nowMs < this.untilMs && spentMs < this.spareMs) {
      this.again(this.look);
      return;
    }
    this.isOn = false;
    if (this.awaited > 0) this.inVain += 1;
    // A long turn is other work: it keeps nobody asleep for longer than a burst would.
    this.spareMs = Math.max(-savedMsMax, this.spareMs - spentMs);
    this.spentMs += spentMs;
  };

  private refill(nowMs: number): void {
    const earned = (nowMs - this.refilledMs) * this.options.shareMax;
    this.spareMs = Math.min(savedMsMax, this.spareMs + earned);
    this.refilledMs = nowMs;
  }
}

/** Of servers that are slower the waking is a small part. */
const meanMsMax = 0.5;
/** Of time not polled, saved for a burst. */
const savedMsMax = 5;

export function registerBusyPollMetrics(registry: Registry, poll: BusyPoll): void {
  const { counter } = plainMetrics(registry, 'muster_gateway_busy_');
  counter('polls_total', 'Times that the event loop stayed awake for an answer', () => poll.polls);
  counter('polls_in_vain_total', 'Those that ended before their answers came', () => poll.inVain);
  counter(
    'poll_seconds_total',
    'Time of staying awake, with what was done meanwhile',
    () => poll.spentMs / 1000,
  );
}
