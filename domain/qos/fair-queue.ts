import { tierRank, tiers } from './tier.ts';
import type { Tier } from './tier.ts';
import { FlowRing } from './flow-ring.ts';
import type { Flow } from './flow-ring.ts';

/**
 * Requests that wait for one service. Whose turn is it? Between tiers, stride scheduling: each tier has a pass that
 * grows by 1/weight with each request taken, and the tier that waits with the smallest pass is next, so that tiers
 * which always wait get shares as their weights (within one request), and none starves: a tier of weight w is taken
 * at least once in every W/w + 4 turns, W the sum of the weights. A tier that comes back starts at the pass of the
 * present, so that nobody saves up turns. Within a tier, tenants take turns (flow-ring.ts); within a tenant, first
 * come, first served. All operations take constant time (amortised: costs are paid off in turns).
 *
 * It is a pure structure: clock and bounds are the caller's. Entries are nodes of two lists, so that one leaves in
 * constant time wherever it stands: its tenant's, and its tier's by age (what expires first stands first; what is
 * displaced first stands last).
 */
export interface QueueEntry<T> {
  readonly item: T;
  readonly tier: Tier;
  readonly tenant: string;
  /** Turns of its tenant that it takes: 1, or more for a dear request. */
  readonly cost: number;
  readonly bytes: number;
  readonly enqueuedAtMs: number;
  /** False once taken or removed. */
  isWaiting: boolean;
  /** Links of the lists; the queue's own. */
  flow: Flow<QueueEntry<T>> | null;
  flowPrevious: QueueEntry<T> | null;
  flowNext: QueueEntry<T> | null;
  older: QueueEntry<T> | null;
  younger: QueueEntry<T> | null;
}

export interface Arrival<T> {
  readonly item: T;
  readonly tier: Tier;
  readonly tenant: string;
  readonly cost: number;
  readonly bytes: number;
}

class TierQueue<T> {
  readonly tier: Tier;
  stride = 1;
  pass = 0;
  size = 0;
  bytes = 0;
  oldest: QueueEntry<T> | null = null;
  youngest: QueueEntry<T> | null = null;
  readonly flows = new FlowRing<QueueEntry<T>>();

  constructor(tier: Tier) {
    this.tier = tier;
  }
}

export class FairQueue<T> {
  size = 0;
  bytes = 0;
  /** The pass of the last request taken: where a tier that comes back starts. */
  private present = 0;
  private readonly byTier: Readonly<Record<Tier, TierQueue<T>>> = {
    critical: new TierQueue<T>('critical'),
    high: new TierQueue<T>('high'),
    standard: new TierQueue<T>('standard'),
    'best-effort': new TierQueue<T>('best-effort'),
  };
  /** Most urgent first. */
  private readonly inOrder = tiers.map((tier) => this.byTier[tier]);

  constructor(weights: Readonly<Record<Tier, number>>) {
    this.setWeights(weights);
  }

  /** New weights hold from the next turn on; what waits stays. */
  setWeights(weights: Readonly<Record<Tier, number>>): void {
    for (const queue of this.inOrder) queue.stride = 1 / weights[queue.tier];
  }

  add({ item, tier, tenant, cost, bytes }: Arrival<T>, nowMs: number): QueueEntry<T> {
    const queue = this.of(tier);
    const entry: QueueEntry<T> = {
      item,
      tier,
      tenant,
      cost,
      bytes,
      enqueuedAtMs: nowMs,
      isWaiting: true,
      flow: null,
      flowPrevious: null,
      flowNext: null,
      older: queue.youngest,
      younger: null,
    };
    if (queue.youngest === null) queue.oldest = entry;
    else queue.youngest.younger = entry;
    queue.youngest = entry;
    if (queue.size === 0) queue.pass = Math.max(queue.pass, this.present);
    queue.flows.add(entry);
    this.count(queue, 1, bytes);
    return entry;
  }

  /** @returns the request whose turn it is; null when nobody waits */
  take(): QueueEntry<T> | null {
    let next: TierQueue<T> | null = null;
    for (const queue of this.inOrder) {
      if (queue.size > 0 && (next === null || queue.pass < next.pass)) next = queue;
    }
    const entry = next?.flows.take() ?? null;
    if (next === null || entry === null) return null;
    this.present = next.pass;
    next.pass += next.stride;
    this.unlinkAge(next, entry);
    return entry;
  }

  /** Its client left, or it made room. @returns false when it does not wait any more */
  remove(entry: QueueEntry<T>): boolean {
    if (!entry.isWaiting) return false;
    const queue = this.of(entry.tier);
    queue.flows.remove(entry);
    this.unlinkAge(queue, entry);
    return true;
  }

  /** Takes out what has waited longer than its tier may; the oldest of the most urgent tier first. */
  expire(nowMs: number, ttlMs: Readonly<Record<Tier, number>>): QueueEntry<T>[] {
    const expired: QueueEntry<T>[] = [];
    for (const { tier, oldest } of this.inOrder) {
      let entry = oldest;
      while (entry !== null && nowMs - entry.enqueuedAtMs >= ttlMs[tier]) {
        const { younger } = entry;
        this.remove(entry);
        expired.push(entry);
        entry = younger;
      }
    }
    return expired;
  }

  /** The request that makes room for one of `tier`: the youngest of the least urgent tier below it. */
  displaceable(tier: Tier): QueueEntry<T> | null {
    for (let rank = tiers.length - 1; rank > tierRank(tier); rank -= 1) {
      const youngest = this.inOrder[rank]?.youngest ?? null;
      if (youngest !== null) return youngest;
    }
    return null;
  }

  sizeOf(tier: Tier): number {
    return this.of(tier).size;
  }

  bytesOf(tier: Tier): number {
    return this.of(tier).bytes;
  }

  private of(tier: Tier): TierQueue<T> {
    return this.byTier[tier];
  }

  private unlinkAge(queue: TierQueue<T>, entry: QueueEntry<T>): void {
    const { older, younger } = entry;
    if (older === null) queue.oldest = younger;
    else older.younger = younger;
    if (younger === null) queue.youngest = older;
    else younger.older = older;
    entry.older = entry.younger = null;
    entry.isWaiting = false;
    this.count(queue, -1, -entry.bytes);
  }

  private count(queue: TierQueue<T>, requests: number, bytes: number): void {
    queue.size += requests;
    queue.bytes += bytes;
    this.size += requests;
    this.bytes += bytes;
  }
}
