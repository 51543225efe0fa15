import type { Passage } from '../passage.ts';
import { Timed } from '../timer-wheel.ts';
import type { ProgressExchange } from './progress-exchange.ts';

/** One request that waits. Its time limit is the end of its patience. */
export class Holder extends Timed {
  readonly passage: Passage;
  readonly sleeper: Sleeper;
  readonly sinceMs: number;
  readonly bytes: number;
  /** Set once the client was told that it waits. */
  progress: ProgressExchange | null = null;
  private readonly onExpired: (holder: Holder) => void;

  constructor(passage: Passage, sleeper: Sleeper, sinceMs: number, onExpired: (holder: Holder) => void) {
    super();
    this.passage = passage;
    this.sleeper = sleeper;
    this.sinceMs = sinceMs;
    this.bytes = passage.exchange.body?.length ?? 0;
    this.onExpired = onExpired;
  }

  onTimeout(): void {
    this.onExpired(this);
  }
}

/** A service that sleeps, or is being woken, and those who wait for it in the order in which they came. */
export class Sleeper {
  readonly key: string;
  readonly namespace: string;
  readonly name: string;
  readonly waiting = new Set<Holder>();
  bytes = 0;
  /** Since somebody waits; for progress lines. */
  sinceMs = 0;
  wakes = 0;
  wakesFailed = 0;
  held = 0;
  released = 0;
  expired = 0;
  refused = 0;
  /** Sum over the released. */
  waitedMs = 0;
  calls = 0;
  isCalling = false;
  nextCall: NodeJS.Timeout | undefined;
  progressTimer: NodeJS.Timeout | undefined;

  constructor(key: string, namespace: string, name: string) {
    this.key = key;
    this.namespace = namespace;
    this.name = name;
  }

  add(holder: Holder): void {
    this.waiting.add(holder);
    this.bytes += holder.bytes;
    this.held += 1;
  }

  /** @returns false when it did not wait any more */
  remove(holder: Holder): boolean {
    if (!this.waiting.delete(holder)) return false;
    this.bytes -= holder.bytes;
    return true;
  }
}
