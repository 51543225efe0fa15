import { setTimeout as sleep } from 'node:timers/promises';
import { request } from 'undici';
import type { Dispatcher } from 'undici';
import { binaryMessage, structuredMessage } from '../../domain/payload-log/cloud-event.ts';
import type { PayloadEvent } from '../../domain/payload-log/cloud-event.ts';
import type { PayloadLogPolicy } from '../../domain/payload-log/payload-log-policy.schema.ts';
import type { PayloadLogMetrics } from './payload-log-metrics.ts';

/**
 * Events on their way to one sink. An event is dropped, and counted, when too many wait: the request that it tells of
 * never waits for a sink. A sink that fails is asked again, with growing pauses, and each sink has its own queue, so
 * that one which hangs holds up no other.
 */
export type SinkBounds = Pick<
  PayloadLogPolicy,
  'eventsMax' | 'bytesMax' | 'sendsMax' | 'triesMax' | 'timeoutMs'
>;

const firstPauseMs = 100;
const answerBytesMax = 64 * 1024;

export class SinkQueue {
  readonly url: string;
  readonly format: 'binary' | 'structured';
  /** Of the newest policy. */
  bounds: SinkBounds;
  private readonly dispatcher: Dispatcher;
  private readonly metrics: PayloadLogMetrics;
  private readonly onFailure: (why: string) => void;
  private waiting: PayloadEvent[] = [];
  private sending = 0;
  private isScheduled = false;
  private readonly stopping = new AbortController();

  constructor(
    target: {
      readonly url: string;
      readonly format: 'binary' | 'structured';
      readonly dispatcher: Dispatcher;
    },
    bounds: SinkBounds,
    metrics: PayloadLogMetrics,
    onFailure: (why: string) => void,
  ) {
    this.url = target.url;
    this.format = target.format;
    this.dispatcher = target.dispatcher;
    this.bounds = bounds;
    this.metrics = metrics;
    this.onFailure = onFailure;
  }

  offer(event: PayloadEvent): void {
    const { metrics, bounds } = this;
    if (this.waiting.length >= bounds.eventsMax || metrics.bytes + event.data.length > bounds.bytesMax) {
      metrics.count('queue_full');
      return;
    }
    this.waiting.push(event);
    metrics.waiting += 1;
    metrics.bytes += event.data.length;
    if (this.isScheduled) return;
    this.isScheduled = true;
    // After the request itself is on its way.
    setImmediate(() => {
      this.isScheduled = false;
      this.pump();
    });
  }

  /** Gives up what waits and what is on its way. */
  close(): void {
    this.stopping.abort();
    for (const event of this.waiting.splice(0)) this.done(event, 'failed');
  }

  private pump(): void {
    while (this.sending < this.bounds.sendsMax) {
      const event = this.waiting.shift();
      if (event === undefined) return;
      this.sending += 1;
      void this.deliver(event).then((isSent) => {
        this.sending -= 1;
        this.done(event, isSent ? 'sent' : 'failed');
        this.pump();
      });
    }
  }

  private done(event: PayloadEvent, outcome: 'sent' | 'failed'): void {
    this.metrics.waiting -= 1;
    this.metrics.bytes -= event.data.length;
    this.metrics.count(outcome);
  }

  /** @returns whether a sink has it; never throws */
  private async deliver(event: PayloadEvent): Promise<boolean> {
    const { signal } = this.stopping;
    for (let tries = 1; ; tries += 1) {
      const { mayRepeat, why } = await this.try(event);
      if (why === null) return true;
      if (!mayRepeat || tries >= this.bounds.triesMax || signal.aborted) {
        this.onFailure(why);
        return false;
      }
      this.metrics.retries += 1;
      await sleep(firstPauseMs * 2 ** (tries - 1), undefined, { signal }).catch(() => undefined);
    }
  }

  /** `why` is null when it went well. */
  private async try(event: PayloadEvent): Promise<{ mayRepeat: boolean; why: string | null }> {
    const tooLong = new AbortController();
    const stop = () => {
      tooLong.abort();
    };
    const timer = setTimeout(stop, this.bounds.timeoutMs);
    this.stopping.signal.addEventListener('abort', stop, { once: true });
    try {
      const { headers, body } = this.format === 'binary' ? binaryMessage(event) : structuredMessage(event);
      const { signal } = tooLong;
      const answer = await request(this.url, {
        method: 'POST',
        headers: [...headers],
        body,
        dispatcher: this.dispatcher,
        signal,
      });
      await answer.body.dump({ limit: answerBytesMax, signal });
      const { statusCode } = answer;
      if (statusCode >= 200 && statusCode < 300) return { mayRepeat: false, why: null };
      const mayRepeat = statusCode === 408 || statusCode === 429 || statusCode >= 500;
      return { mayRepeat, why: `it answered ${statusCode}` };
    } catch (error) {
      return { mayRepeat: true, why: error instanceof Error ? error.message : String(error) };
    } finally {
      clearTimeout(timer);
      this.stopping.signal.removeEventListener('abort', stop);
    }
  }
}
