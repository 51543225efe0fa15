import { ReplyError } from 'ioredis';
import type { Redis } from 'ioredis';

/** How long the connection may be quiet, and what failed waits. */
export interface HearingTimes {
  /** From a failure to subscribe to the next try. */
  readonly retryMs: number;
  /** From an answered ping to the next. */
  readonly pingMs: number;
}

/**
 * The channels that a gateway hears, on a connection of their own. They are asked for each time the connection is
 * ready, and again after a while where that fails: ioredis's own renewal leaves a failure unhandled, which would end
 * the process (redis/ioredis#2187). One that only hears would not notice that its connection died: it is pinged, and
 * made anew after two pings without an answer, so after `pingMs` and twice the client's command time limit.
 */
export class Subscriptions {
  private readonly client: Redis;
  private readonly failed: (error: unknown) => void;
  private readonly times: HearingTimes;
  private readonly listeners = new Map<string, ((text: string) => void)[]>();
  private retry: NodeJS.Timeout | undefined;
  private nextPing: NodeJS.Timeout | undefined;

  /**
   * @param client not yet connected, with `autoResubscribe: false`
   * @param failed told of each failure to subscribe, and of a connection that is given up
   */
  constructor(client: Redis, failed: (error: unknown) => void, times: HearingTimes) {
    this.client = client;
    this.failed = failed;
    this.times = times;
    client.on('error', () => undefined); // the first connection tells of the same server
    client.on('ready', () => {
      this.ask();
      this.pingLater();
    });
    client.on('message', (channel: string, text: string) => {
      for (const listener of this.listeners.get(channel) ?? []) listener(text);
    });
    client.connect().catch(() => undefined); // it goes on trying
  }

  /** From now on `listener` hears the channel, whenever Redis is there. */
  hear(channel: string, listener: (text: string) => void): void {
    const listeners = this.listeners.get(channel);
    if (listeners === undefined) this.listeners.set(channel, [listener]);
    else listeners.push(listener);
    this.ask();
  }

  close(): void {
    clearTimeout(this.retry);
    clearTimeout(this.nextPing);
    this.client.disconnect();
  }

  private ask(): void {
    clearTimeout(this.retry);
    if (this.client.status !== 'ready' || this.listeners.size === 0) return;
    this.client.subscribe(...this.listeners.keys()).catch((error: unknown) => {
      if (this.client.status !== 'ready') return; // gone again: it is asked for when it is back
      this.failed(error);
      clearTimeout(this.retry);
      this.retry = setTimeout(() => {
        this.ask();
      }, this.times.retryMs);
      this.retry.unref();
    });
  }

  private pingLater(): void {
    clearTimeout(this.nextPing);
    this.nextPing = setTimeout(() => {
      void this.ping();
    }, this.times.pingMs);
    this.nextPing.unref();
  }

  /** Twice: one answer may be late because this process was busy. */
  private async ping(): Promise<void> {
    let problem: unknown = null;
    for (let attempt = 0; attempt < 2; attempt += 1) {
      problem = await this.client.ping().then(() => null, problemOf);
      if (this.client.status !== 'ready') return; // gone: pings begin again when it is back
      if (problem === null) {
        this.pingLater();
        return;
      }
    }
    this.failed(problem);
    this.client.disconnect(true);
  }
}

/** A refusal is an answer, too. */
function problemOf(error: unknown): unknown {
  return error instanceof ReplyError ? null : error;
}
