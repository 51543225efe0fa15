import type { Wanted } from '../../domain/cache/deliver.ts';
import type { Directives } from '../../domain/cache/directives.ts';
import type { Tier } from '../../domain/qos/tier.ts';
import { tierFor } from '../admission/tier-for.ts';
import type { Passage } from '../passage.ts';
import type { Flow } from '../step.ts';
import type { CacheResult } from './cache-metrics.ts';
import type { CacheState } from './cache-state.ts';
import type { Entry, EntryKey } from './entry.ts';
import type { FlightExchange } from './flight-exchange.ts';
import type { CacheableRequest } from './read-request.ts';
import type { Recorder } from './recorder.ts';
import type { Meaning } from './meaning.ts';
import type { CachedService } from './versions.ts';

/** One request's way through the cache: what it asks for, and whether it leads, waits or goes by itself. */
export class Lookup implements CacheState {
  readonly passage: Passage;
  readonly flow: Flow;
  readonly service: CachedService;
  readonly request: CacheableRequest;
  readonly directives: Directives;
  readonly wanted: Wanted;
  readonly key: EntryKey;
  /** Date.now(). */
  readonly startedAtMs: number;
  /** How it met the cache; null before that is known. */
  result: CacheResult | null = null;
  /** Led or waited for. */
  flight: Flight | null = null;
  /** While it waits. */
  timer: NodeJS.Timeout | undefined;
  /** While a server answers. */
  recorder: Recorder | null = null;
  exchange: FlightExchange | null = null;
  /** The prompt's vector, once it is known. */
  meaning: Meaning | null = null;
  /** An answer past its time. */
  stale: Entry | null = null;
  /** Of the prompt whose answer it gets; null for exact ones. */
  similarity: number | null = null;
  /** What unlocks it, while it holds the lock of its answer in Redis. */
  lock: string | null = null;
  /** Its answer is in Redis then, or will not be; null while there is none. */
  written: Promise<void> | null = null;
  /** Once its client is gone and its answer goes on: to be called at the end. */
  settle: (() => void) | null = null;
  /** A kept answer was given to it. */
  isServed = false;
  /** Its answer came, or will not come. */
  isConcluded = false;

  constructor(
    of: Pick<Lookup, 'passage' | 'flow' | 'service' | 'request' | 'directives' | 'wanted' | 'key'>,
    startedAtMs: number,
  ) {
    this.passage = of.passage;
    this.flow = of.flow;
    this.service = of.service;
    this.request = of.request;
    this.directives = of.directives;
    this.wanted = of.wanted;
    this.key = of.key;
    this.startedAtMs = startedAtMs;
  }

  get tier(): Tier {
    return tierFor(this.passage);
  }

  get isLeader(): boolean {
    return this.flight?.leader === this;
  }

  get isUnheard(): boolean {
    return this.exchange?.isUnheardOf === true;
  }

  outlivesClient(settle: () => void): boolean {
    if (this.exchange?.outlives() !== true) return false;
    this.settle = settle;
    return true;
  }
}

/** A request that asks, and those that wait for its answer. */
export class Flight {
  readonly key: string;
  leader: Lookup;
  /** In the order of their arrival. */
  readonly waiters = new Set<Lookup>();
  /** Leaders that brought nothing. */
  fruitless = 0;

  constructor(leader: Lookup) {
    this.key = leader.key.local;
    this.leader = leader;
  }
}
