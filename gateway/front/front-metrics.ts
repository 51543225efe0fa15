import { Counter } from 'prom-client';
import type { Registry } from 'prom-client';
import { plainMetrics } from '../observe/plain-metrics.ts';
import type { BodyBudget } from './body-budget.ts';
import type { LeanFront } from './lean/lean-front.ts';
import type { Pipelines } from './pipelines.ts';
import type { TlsFiles } from './tls-files.ts';

/** Plain counters of the front, read when they are scraped. */
export function registerFrontMetrics(
  registry: Registry,
  front: LeanFront,
  bodies: BodyBudget,
  pipelines: Pipelines,
  tls: TlsFiles | null,
): void {
  const { gauge, counter } = plainMetrics(registry, 'muster_gateway_front_');
  const { counts } = front;
  gauge('connections', 'Connections at the own reader', () => front.size);
  counter('accepted_total', 'Connections taken', () => counts.accepted);
  counter('dropped_total', 'Connections beyond the bound', () => counts.dropped);
  counter('timed_out_total', 'Requests that came too slowly', () => counts.timedOut);
  gauge('body_bytes', 'Bytes of request bodies held in memory', () => bodies.bytes);
  gauge('strangers_body_bytes', 'Those of requests without a known key', () => bodies.strangersBytes);
  counter('bodies_refused_total', 'Bodies beyond the bound of all', () => bodies.refused);
  counter('pipelines_refused_total', 'Connections with too many requests ahead', () => pipelines.refused);
  counter('writes_deferred_total', 'Small writes left to the end of their turn', () => front.writes.deferred);
  counter('write_rounds_total', 'How often such writes were made', () => front.writes.flushes);
  new Counter({
    name: 'muster_gateway_front_handed_over_total',
    help: "Connections handed to node's own parser, by what was not plain",
    labelNames: ['why'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [why, count] of Object.entries(front.handedOver)) this.inc({ why }, count);
    },
  });
  if (tls === null) return;
  counter('certificates_reloaded_total', 'New certificates', () => tls.counts.reloaded);
  counter('certificates_refused_total', 'Of no use', () => tls.counts.refused);
}
