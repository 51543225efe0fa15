import { Counter } from 'prom-client';
import type { Registry } from 'prom-client';
import { plainMetrics } from '../observe/plain-metrics.ts';

/** What became of each event: sent, or why not. */
export const outcomes = [
  'sent',
  'queue_full',
  'too_large',
  'failed', // after all tries, or refused by the sink
  'no_sink', // no URL, or one that may not be asked
] as const;
export type Outcome = (typeof outcomes)[number];

export class PayloadLogMetrics {
  /** Of all sinks together. */
  waiting = 0;
  bytes = 0;
  retries = 0;
  private readonly counts = new Map<Outcome, number>();

  constructor(registry: Registry) {
    const { counts } = this;
    new Counter({
      name: 'muster_gateway_payload_log_events_total',
      help: 'Copies of requests and answers for sinks, by what became of them',
      labelNames: ['outcome'],
      registers: [registry],
      collect() {
        this.reset();
        for (const outcome of outcomes) this.inc({ outcome }, counts.get(outcome) ?? 0);
      },
    });
    const metrics = plainMetrics(registry, 'muster_gateway_payload_log_');
    metrics.gauge('waiting', 'Events that wait or are on their way', () => this.waiting);
    metrics.gauge('waiting_bytes', 'Bytes of their payloads', () => this.bytes);
    metrics.counter('retries_total', 'Further tries', () => this.retries);
  }

  count(outcome: Outcome): void {
    this.counts.set(outcome, (this.counts.get(outcome) ?? 0) + 1);
  }
}
