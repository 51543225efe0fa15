import { Counter, Gauge, Histogram } from 'prom-client';
import type { Registry } from 'prom-client';
import { tiers } from '../../domain/qos/tier.ts';
import type { Tier } from '../../domain/qos/tier.ts';
import type { Gate } from './gate.ts';

/** What waits, how long it waited and what was refused, by tier. Counts are plain numbers, read when scraped. */
export type QueueRefusal = 'tenant_queue_full' | 'queue_full' | 'queue_displaced' | 'queue_timeout';

const refusals: readonly QueueRefusal[] = [
  'tenant_queue_full',
  'queue_full',
  'queue_displaced',
  'queue_timeout',
];

class TierNumbers {
  direct = 0;
  queued = 0;
  left = 0;
  readonly refused: Record<QueueRefusal, number> = {
    tenant_queue_full: 0,
    queue_full: 0,
    queue_displaced: 0,
    queue_timeout: 0,
  };
}

export class AdmissionMetrics {
  private readonly byTier: Readonly<Record<Tier, TierNumbers>> = {
    critical: new TierNumbers(),
    high: new TierNumbers(),
    standard: new TierNumbers(),
    'best-effort': new TierNumbers(),
  };
  private readonly wait: Histogram;

  constructor(registry: Registry, gates: () => Iterable<Gate<unknown>>) {
    const registers = [registry];
    // One observation for each request that waited: beside a wait of milliseconds its cost is nothing.
    this.wait = new Histogram({
      name: 'muster_gateway_queue_wait_seconds',
      help: 'Time in the queue of requests that waited and were let go',
      labelNames: ['tier'],
      buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
      registers,
    });
    this.registerGates(registers, gates);
    this.registerCounts(registers);
  }

  admittedAtOnce(tier: Tier): void {
    this.of(tier).direct += 1;
  }

  admittedFromQueue(tier: Tier, ms: number): void {
    this.of(tier).queued += 1;
    this.wait.observe({ tier }, ms / 1000);
  }

  /** Its client left while it waited. */
  left(tier: Tier): void {
    this.of(tier).left += 1;
  }

  refused(tier: Tier, reason: QueueRefusal): void {
    this.of(tier).refused[reason] += 1;
  }

  private of(tier: Tier): TierNumbers {
    return this.byTier[tier];
  }

  private registerGates(registers: Registry[], gates: () => Iterable<Gate<unknown>>): void {
    const labels = ['service', 'tier'];
    gauge(registers, 'muster_gateway_queue_depth', 'Requests that wait', labels, (set) => {
      for (const { key, queue } of gates())
        for (const tier of tiers) set({ service: key, tier }, queue.sizeOf(tier));
    });
    gauge(registers, 'muster_gateway_queue_bytes', 'Bytes of bodies that wait', labels, (set) => {
      for (const { key, queue } of gates())
        for (const tier of tiers) set({ service: key, tier }, queue.bytesOf(tier));
    });
    const places = 'Requests with the servers of a limited service';
    gauge(registers, 'muster_gateway_queue_places_taken', places, ['service'], (set) => {
      for (const { key, inFlight } of gates()) set({ service: key }, inFlight);
    });
    const most = 'Requests that may be with the servers of a limited service at once';
    gauge(registers, 'muster_gateway_queue_places', most, ['service'], (set) => {
      for (const { key, places } of gates()) if (places !== Infinity) set({ service: key }, places);
    });
  }

  private registerCounts(registers: Registry[]): void {
    const { byTier } = this;
    new Counter({
      name: 'muster_gateway_queue_admitted_total',
      help: 'Requests let go: at once, or after waiting; and those whose client left while waiting',
      labelNames: ['tier', 'how'],
      registers,
      collect() {
        this.reset();
        for (const tier of tiers) {
          const { direct, queued, left } = byTier[tier];
          this.inc({ tier, how: 'at_once' }, direct);
          this.inc({ tier, how: 'queued' }, queued);
          this.inc({ tier, how: 'client_left' }, left);
        }
      },
    });
    new Counter({
      name: 'muster_gateway_queue_refusals_total',
      help: 'Requests that the queue refused, by reason',
      labelNames: ['tier', 'reason'],
      registers,
      collect() {
        this.reset();
        for (const tier of tiers)
          for (const reason of refusals) this.inc({ tier, reason }, byTier[tier].refused[reason]);
      },
    });
  }
}

function gauge(
  registers: Registry[],
  name: string,
  help: string,
  labelNames: string[],
  fill: (set: (labels: Record<string, string>, value: number) => void) => void,
): void {
  new Gauge({
    name,
    help,
    labelNames,
    registers,
    collect() {
      this.reset();
      fill((labels, value) => {
        this.set(labels, value);
      });
    },
  });
}
