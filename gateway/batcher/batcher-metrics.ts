import { Counter } from 'prom-client';
import type { Registry } from 'prom-client';
import { plainMetrics } from '../observe/plain-metrics.ts';

/** How requests of services with a batcher went. */
export const ways = [
  'joined', // answered as part of a batch
  'alone', // nobody came along in time, or it fills a batch by itself
  'unjoinable', // not of a form that is joined with others; its server says what is wrong, if anything
  'crowded', // as many wait as may
  'given_up', // answers of its service do not fall apart
  'again', // asked for itself after its batch was refused or lost
] as const;
type Way = (typeof ways)[number];

export class BatcherMetrics {
  waiting = 0;
  bytes = 0;
  batches = 0;
  rows = 0;
  private readonly counts = new Map<Way, number>();

  constructor(registry: Registry) {
    const { counts } = this;
    new Counter({
      name: 'muster_gateway_batcher_requests_total',
      help: 'Requests of services with a batcher, by how they went',
      labelNames: ['way'],
      registers: [registry],
      collect() {
        this.reset();
        for (const way of ways) this.inc({ way }, counts.get(way) ?? 0);
      },
    });
    const metrics = plainMetrics(registry, 'muster_gateway_batcher_');
    metrics.counter('batches_total', 'Batches sent', () => this.batches);
    metrics.counter('rows_total', 'Instances in them', () => this.rows);
    metrics.gauge(
      'waiting',
      'Requests that wait for others or for the answer to their batch',
      () => this.waiting,
    );
    metrics.gauge('waiting_bytes', 'Bytes of their bodies', () => this.bytes);
  }

  count(way: Way): void {
    this.counts.set(way, (this.counts.get(way) ?? 0) + 1);
  }
}
