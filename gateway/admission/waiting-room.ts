import type { Arrival, QueueEntry } from '../../domain/qos/fair-queue.ts';
import type { QueueBounds } from '../../domain/qos/qos-policy.schema.ts';
import { tierRank, tiers } from '../../domain/qos/tier.ts';
import type { Tier } from '../../domain/qos/tier.ts';
import type { Passage } from '../passage.ts';
import type { QueueRefusal } from './admission-metrics.ts';
import type { Gate } from './gate.ts';

/** A request that waits, and at which gate. */
export interface Waiting {
  readonly gate: Gate<Passage>;
  readonly entry: QueueEntry<Passage>;
}

export type Room =
  | { readonly kind: 'room'; readonly displaced: readonly Waiting[] }
  | { readonly kind: 'full'; readonly reason: QueueRefusal };

const empty: Room = Object.freeze({ kind: 'room', displaced: Object.freeze([]) });

/**
 * All that waits in this gateway, at whichever gate, and the bounds on it. A request that finds all full displaces
 * less urgent ones, the youngest of the least urgent tier first; but only when that makes room enough, so that
 * nobody is sent away for nothing.
 */
export class WaitingRoom {
  size = 0;
  bytes = 0;
  /** By tenant; one that waits for nothing is not in it. */
  private readonly byTenant = new Map<string, number>();
  private readonly gates: ReadonlyMap<string, Gate<Passage>>;

  constructor(gates: ReadonlyMap<string, Gate<Passage>>) {
    this.gates = gates;
  }

  /** Makes room for one more, if that may be: what it displaces waits no longer and must be refused. */
  makeRoom(gate: Gate<Passage>, { tier, tenant, bytes }: Arrival<Passage>, bounds: QueueBounds): Room {
    // Callers that nobody knows are not one tenant: the other bounds are theirs.
    if (tenant !== '' && (this.byTenant.get(tenant) ?? 0) >= bounds.tenantRequestsMax)
      return { kind: 'full', reason: 'tenant_queue_full' };
    if (gate.queue.sizeOf(tier) >= bounds.tierRequestsMax[tier])
      return { kind: 'full', reason: 'queue_full' };
    const fits = (size: number, total: number) =>
      this.size + 1 - size <= bounds.requestsMax && this.bytes + bytes - total <= bounds.bytesMax;
    if (fits(0, 0)) return empty;
    const below = this.below(tier);
    if (!fits(below.size, below.bytes)) return { kind: 'full', reason: 'queue_full' };
    const displaced: Waiting[] = [];
    while (!fits(0, 0)) {
      const next = this.displaceable(tier);
      if (next === null) break; // cannot be: what lies below suffices
      this.remove(next.gate, next.entry);
      displaced.push(next);
    }
    return { kind: 'room', displaced };
  }

  add(gate: Gate<Passage>, arrival: Arrival<Passage>, nowMs: number): QueueEntry<Passage> {
    this.count(arrival.tenant, 1, arrival.bytes);
    return gate.queue.add(arrival, nowMs);
  }

  take(gate: Gate<Passage>): QueueEntry<Passage> | null {
    const entry = gate.queue.take();
    if (entry !== null) this.count(entry.tenant, -1, -entry.bytes);
    return entry;
  }

  /** @returns false when it does not wait any more */
  remove(gate: Gate<Passage>, entry: QueueEntry<Passage>): boolean {
    if (!gate.queue.remove(entry)) return false;
    this.count(entry.tenant, -1, -entry.bytes);
    return true;
  }

  expire(gate: Gate<Passage>, nowMs: number, bounds: QueueBounds): QueueEntry<Passage>[] {
    const expired = gate.queue.expire(nowMs, gate.ttlMs(bounds));
    for (const { tenant, bytes } of expired) this.count(tenant, -1, -bytes);
    return expired;
  }

  private below(tier: Tier): { size: number; bytes: number } {
    const sum = { size: 0, bytes: 0 };
    for (const { queue } of this.gates.values()) {
      for (const lower of tiers.slice(tierRank(tier) + 1)) {
        sum.size += queue.sizeOf(lower);
        sum.bytes += queue.bytesOf(lower);
      }
    }
    return sum;
  }

  private displaceable(tier: Tier): Waiting | null {
    let found: Waiting | null = null;
    for (const gate of this.gates.values()) {
      const entry = gate.queue.displaceable(tier);
      if (entry === null) continue;
      const order = found === null ? 1 : tierRank(entry.tier) - tierRank(found.entry.tier);
      const isYounger = found === null || entry.enqueuedAtMs > found.entry.enqueuedAtMs;
      if (order > 0 || (order === 0 && isYounger)) found = { gate, entry };
    }
    return found;
  }

  private count(tenant: string, requests: number, bytes: number): void {
    this.size += requests;
    this.bytes += bytes;
    const left = (this.byTenant.get(tenant) ?? 0) + requests;
    if (left > 0) this.byTenant.set(tenant, left);
    else this.byTenant.delete(tenant);
  }
}
