import { connectivityState } from '@grpc/grpc-js';
import type { Client } from '@grpc/grpc-js';
import { Timed } from '../timer-wheel.ts';
import type { TimerWheel } from '../timer-wheel.ts';

/**
 * grpc-js sets making a connection no limit, and calls wait for it. Here each that began without one is told when there
 * was none in time. Once there was one, the call is on it, and may be at the server also when the channel has none by
 * now: a server that is going away finishes its calls.
 */
export class ConnectLimit {
  private readonly channel: ReturnType<Client['getChannel']>;
  private readonly wheel: TimerWheel;
  private readonly connectMs: number;
  private readonly waiters = new Set<Waiter>();
  private isWatching = false;

  constructor(client: Client, wheel: TimerWheel, connectMs: number) {
    this.channel = client.getChannel();
    this.wheel = wheel;
    this.connectMs = connectMs;
  }

  /** A call has begun. @returns to be called when it is over */
  begin(onLate: () => void): () => void {
    if (this.isConnected()) return () => undefined;
    const waiter = new Waiter(() => {
      this.waiters.delete(waiter);
      onLate();
    });
    this.waiters.add(waiter);
    this.wheel.arm(waiter, this.connectMs);
    this.watch();
    return () => {
      this.leave(waiter);
    };
  }

  isConnected(): boolean {
    return this.channel.getConnectivityState(false) === connectivityState.READY;
  }

  /** grpc-js tells of one change at a time, as it happens. */
  private watch(): void {
    if (this.isWatching || this.waiters.size === 0) return;
    this.isWatching = true;
    this.channel.watchConnectivityState(this.channel.getConnectivityState(false), Infinity, () => {
      this.isWatching = false;
      if (this.isConnected()) for (const waiter of this.waiters) this.leave(waiter);
      this.watch();
    });
  }

  private leave(waiter: Waiter): void {
    this.waiters.delete(waiter);
    this.wheel.remove(waiter);
  }
}

class Waiter extends Timed {
  readonly onTimeout: () => void;

  constructor(onTimeout: () => void) {
    super();
    this.onTimeout = onTimeout;
  }
}
