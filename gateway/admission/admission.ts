import type { Registry } from 'prom-client';
import { ownerOf } from '../../domain/access/caller.ts';
import { concurrencyOf, limitsAnything } from '../../domain/qos/capacity.ts';
import type { Arrival, QueueEntry } from '../../domain/qos/fair-queue.ts';
import type { QosPolicy } from '../../domain/qos/qos-policy.schema.ts';
import { requestTurns } from '../../domain/qos/request-cost.ts';
import type { Tier } from '../../domain/qos/tier.ts';
import type { OperationKind } from '../../domain/routing/operation.ts';
import type { Routes } from '../../domain/routing/routes.ts';
import type { Passage } from '../passage.ts';
import type { Flow, Step } from '../step.ts';
import type { Endpoint } from '../upstream/endpoints.ts';
import { AdmissionMetrics } from './admission-metrics.ts';
import type { QueueRefusal } from './admission-metrics.ts';
import { Gate } from './gate.ts';
import { queueRefusal } from './queue-refusal.ts';
import { tierFor } from './tier-for.ts';
import { WaitingRoom } from './waiting-room.ts';

/**
 * Lets a request go to its servers when they have room, else lets it wait its turn (domain/qos/fair-queue.ts says
 * whose turn it is). A place comes free when a request ends, or with a new table. Waiting is bounded: by number and
 * bytes in all, by number for a tenant and for a tier, and in time. When all is full a more urgent request takes the
 * place of the youngest of the least urgent tier.
 */
export interface AdmissionDeps {
  readonly registry: Registry;
  readonly routes: () => Routes<Endpoint> | null;
  readonly nowMs: () => number;
  /** Of this gateway: each admits its part of the limits. */
  readonly processes: number;
}

/** How often what has waited too long is looked for. */
const sweepMs = 100;
/** Let go in one turn of the event loop: thousands at once, when a limit is lifted, would keep all others waiting. */
const turnsAtOnce = 128;

const asksServers: ReadonlySet<OperationKind> = new Set([
  'openai-call',
  'openai-form',
  'anthropic-call',
  'v1-call',
  'v2-call',
]);

export class Admission implements Step {
  readonly name = 'queue';
  private readonly deps: AdmissionDeps;
  private readonly metrics: AdmissionMetrics;
  private readonly gates = new Map<string, Gate<Passage>>();
  private readonly room = new WaitingRoom(this.gates);
  /** Null: nothing is limited, and a request costs one look. */
  private policy: QosPolicy | null = null;
  /** Of the last table, also where it limits nothing. */
  private lastPolicy: QosPolicy | null = null;
  private flow: Flow | null = null;
  private sweep: NodeJS.Timeout | null = null;
  /** Gates at which somebody's turn may have come. */
  private readonly pending = new Set<Gate<Passage>>();
  private isScheduled = false;
  private isDispatching = false;

  constructor(deps: AdmissionDeps) {
    this.deps = deps;
    this.metrics = new AdmissionMetrics(deps.registry, () => this.gates.values());
  }

  /** With each new table, once it is in use. */
  apply(policy: QosPolicy): void {
    this.lastPolicy = policy;
    this.policy = limitsAnything(policy) ? policy : null;
    const routes = this.deps.routes();
    const { processes } = this.deps;
    if (routes !== null) limitEndpoints(routes, policy, processes);
    for (const service of routes?.services ?? []) {
      const concurrency = concurrencyOf(policy, service.key, processes);
      const known = this.gates.get(service.key);
      if (known === undefined && concurrency === null) continue;
      const gate = known ?? new Gate<Passage>(service.key, policy.weights, this.deps.nowMs);
      gate.queue.setWeights(policy.weights);
      gate.set(service, concurrency);
      this.gates.set(service.key, gate);
    }
    for (const gate of this.gates.values()) {
      if (routes?.byKey.has(gate.key) !== true) gate.set(null, null);
      if (gate.queue.size > 0) this.later(gate);
      else this.forget(gate);
    }
  }

  /** Requests with a service's servers or waiting for them, by its places; null: it is not limited. */
  loadOf(key: string): number | null {
    const gate = this.gates.get(key);
    if (gate === undefined || gate.isOpen || gate.places === 0 || gate.places === Infinity) return null;
    return (gate.inFlight + gate.queue.size) / gate.places;
  }

  /** Requests waiting now. */
  get waiting(): number {
    return this.room.size;
  }

  enter(passage: Passage, flow: Flow): boolean {
    if (this.policy === null || !asksServers.has(passage.operation.kind)) return true;
    // Its transformer will ask the predictor through here: with a place of its own it would wait for itself.
    if (passage.entry !== null) return true;
    const gate = this.gates.get(passage.service?.key ?? '');
    if (gate === undefined) return true;
    this.flow = flow;
    passage.gate = gate;
    if (gate.queue.size === 0 && (!gate.hasEndpoints || gate.hasRoom)) {
      gate.inFlight += 1;
      this.metrics.admittedAtOnce(tierFor(passage));
      return true;
    }
    this.wait(passage, gate, this.policy);
    return false;
  }

  settle(passage: Passage, isWhole: boolean): void {
    const { gate, queued } = passage;
    if (gate === null) return;
    passage.gate = null;
    if (queued !== null) {
      passage.queued = null;
      if (this.room.remove(gate, queued)) this.metrics.left(queued.tier);
      return;
    }
    gate.inFlight -= 1;
    if (gate.queue.size === 0) this.forget(gate);
    // When the client left, the forwarding lets its endpoint go only after this call.
    else if (isWhole) this.dispatch(gate);
    else this.later(gate);
    // Another service may have answered in its place, and have room again.
    const { service } = passage;
    if (service === null || service.key === gate.key || this.room.size === 0) return;
    const other = this.gates.get(service.key);
    if (other !== undefined && other.queue.size > 0) this.later(other);
  }

  /** Looks no more for what has waited too long. */
  close(): void {
    if (this.sweep !== null) clearInterval(this.sweep);
    this.sweep = null;
  }

  private wait(passage: Passage, gate: Gate<Passage>, policy: QosPolicy): void {
    const bytes = passage.body?.length ?? 0;
    const arrival: Arrival<Passage> = {
      item: passage,
      tier: tierFor(passage),
      tenant: passage.caller === null ? '' : ownerOf(passage.caller),
      cost: policy.tenantShare === 'tokens' ? requestTurns(bytes, passage.fields) : 1,
      bytes,
    };
    const room = this.room.makeRoom(gate, arrival, policy.queue);
    if (room.kind === 'full') {
      this.refuse(passage, gate, arrival.tier, room.reason);
      return;
    }
    passage.queued = this.room.add(gate, arrival, this.deps.nowMs());
    for (const { gate: from, entry } of room.displaced)
      this.refuse(entry.item, from, entry.tier, 'queue_displaced');
    this.sweep ??= setInterval(() => {
      this.expire();
    }, sweepMs).unref();
  }

  /** It waits no longer; the place in `passage` goes with it. */
  private refuse(passage: Passage, gate: Gate<Passage>, tier: Tier, reason: QueueRefusal): void {
    const { flow, lastPolicy: policy } = this;
    passage.gate = null;
    passage.queued = null;
    this.metrics.refused(tier, reason);
    if (flow === null || policy === null) return; // nobody waits before there is a policy
    passage.addHeader('x-muster-refused', reason);
    flow.refuse(passage, queueRefusal(gate, { tier, reason }, policy.weights, this.deps.nowMs()));
  }

  /** In this turn of the event loop, after what is being done now. */
  private later(gate: Gate<Passage>): void {
    this.pending.add(gate);
    if (this.isScheduled) return;
    this.isScheduled = true;
    setImmediate(() => {
      this.isScheduled = false;
      const gates = [...this.pending];
      this.pending.clear();
      for (const each of gates) this.dispatch(each);
    });
  }

  /** Lets go whoever there is room for. A request that ends at once may call this again: once is enough. */
  private dispatch(gate: Gate<Passage>): void {
    if (this.isDispatching) {
      this.later(gate);
      return;
    }
    this.isDispatching = true;
    try {
      for (let left = turnsAtOnce; gate.queue.size > 0 && gate.hasRoom; left -= 1) {
        if (left === 0) {
          this.later(gate);
          break;
        }
        const entry = this.room.take(gate);
        if (entry !== null) this.letGo(gate, entry);
      }
    } finally {
      this.isDispatching = false;
    }
    if (gate.queue.size === 0) this.forget(gate);
  }

  private letGo(gate: Gate<Passage>, { item, tier, enqueuedAtMs }: QueueEntry<Passage>): void {
    const nowMs = this.deps.nowMs();
    const ms = nowMs - enqueuedAtMs;
    item.queued = null;
    gate.inFlight += 1;
    gate.drained.add(nowMs);
    this.metrics.admittedFromQueue(tier, ms);
    item.addHeader('x-muster-queue-ms', ms.toFixed(0));
    this.flow?.proceed(item);
  }

  private expire(): void {
    const nowMs = this.deps.nowMs();
    const { lastPolicy } = this;
    for (const gate of this.gates.values()) {
      if (gate.queue.size === 0 || lastPolicy === null) continue;
      for (const entry of this.room.expire(gate, nowMs, lastPolicy.queue))
        this.refuse(entry.item, gate, entry.tier, 'queue_timeout');
      // Endpoints that other services share come free without a word to this gate.
      this.dispatch(gate);
    }
    if (this.room.size === 0) this.close();
  }

  /** A gate without limits is needed only by those who passed it. */
  private forget(gate: Gate<Passage>): void {
    if (gate.isOpen && gate.isIdle) this.gates.delete(gate.key);
  }
}

/** For the picker. First what nobody limits, so that of two services on one endpoint the smaller limit holds. */
function limitEndpoints({ services }: Routes<Endpoint>, policy: QosPolicy, processes: number): void {
  for (const { endpoints } of services) for (const { load } of endpoints) load.places = Infinity;
  for (const { key, endpoints } of services) {
    const { perEndpoint = Infinity } = concurrencyOf(policy, key, processes) ?? {};
    for (const { load } of endpoints) load.places = Math.min(load.places ?? Infinity, perEndpoint);
  }
}
