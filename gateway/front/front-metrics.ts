import { Counter, Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import type { BodyBudget } from './body-budget.ts';
import type { LeanFront } from './lean/lean-front.ts';
import type { TlsFiles } from './tls-files.ts';

/** Plain counters of the front, read when they are scraped. */
export function registerFrontMetrics(
  registry: Registry,
  front: LeanFront,
  bodies: BodyBudget,
  tls: TlsFiles | null,
): void {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  };
  const counter = (name: string, help: string, read: () => number): void => {
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  };
  const { counts } = front;
  gauge('muster_gateway_front_connections', 'Connections at the own reader', () => front.size);
  counter('muster_gateway_front_accepted_total', 'Connections taken', () => counts.accepted);
  counter('muster_gateway_front_dropped_total', 'Connections beyond the bound', () => counts.dropped);
  counter('muster_gateway_front_timed_out_total', 'Requests that came too slowly', () => counts.timedOut);
  gauge('muster_gateway_front_body_bytes', 'Bytes of request bodies held in memory', () => bodies.bytes);
  gauge(
    'muster_gateway_front_strangers_body_bytes',
    'Those of requests without a known key',
    () => bodies.strangersBytes,
  );
  counter(
    'muster_gateway_front_bodies_refused_total',
    'Bodies beyond the bound of all',
    () => bodies.refused,
  );
  new Counter({
    name: 'muster_gateway_front_handed_over_total',
    help: "Connections handed to node's own parser, by what was not plain",
    labelNames: ['why'],
    registers,
    collect() {
      this.reset();
      for (const [why, count] of Object.entries(front.handedOver)) this.inc({ why }, count);
    },
  });
  if (tls === null) return;
  counter('muster_gateway_front_certificates_reloaded_total', 'New certificates', () => tls.counts.reloaded);
  counter('muster_gateway_front_certificates_refused_total', 'Of no use', () => tls.counts.refused);
}
