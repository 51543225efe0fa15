import type { Redis } from 'ioredis';

/**
 * The channels that a gateway hears, on a connection of their own. They are asked for each time the connection is
 * ready, and again after a while where that fails: ioredis's own renewal leaves a failure unhandled, which would end
 * the process (redis/ioredis#2187).
 */
export class Subscriptions {
  private readonly client: Redis;
  private readonly failed: (error: unknown) => void;
  private readonly retryMs: number;
  private readonly listeners = new Map<string, ((text: string) => void)[]>();
  private retry: NodeJS.Timeout | undefined;

  /**
   * @param client not yet connected, with `autoResubscribe: false`
   * @param failed told of each failure to subscribe
   * @param retryMs from a failure to the next try
   */
  constructor(client: Redis, failed: (error: unknown) => void, retryMs: number) {
    this.client = client;
    this.failed = failed;
    this.retryMs = retryMs;
    client.on('error', () => undefined); // the first connection tells of the same server
    client.on('ready', () => {
      this.ask();
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
      }, this.retryMs);
      this.retry.unref();
    });
  }
}
