import { Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import type { SocketStats } from '../upstream/socket/stats.ts';
import { plainMetrics } from './plain-metrics.ts';

/** Connections to servers, read from plain numbers when scraped. */
export function registerUpstreamMetrics(registry: Registry, stats: SocketStats): void {
  new Gauge({
    name: 'muster_gateway_upstream_connections',
    help: 'Connections to servers now; busy: with a request, or being made',
    labelNames: ['state'],
    registers: [registry],
    collect() {
      this.set({ state: 'busy' }, stats.connections - stats.idle);
      this.set({ state: 'idle' }, stats.idle);
    },
  });
  const { gauge, counter } = plainMetrics(registry, 'muster_gateway_upstream_');
  gauge(
    'waiting',
    'Requests that wait for a connection, since their server has as many as it may',
    () => stats.waiting,
  );
  counter('connects_total', 'Connections made', () => stats.opened);
  counter('reuses_total', 'Requests that found an idle connection', () => stats.reused);
  counter(
    'waits_refused_total',
    'Requests that waited for a connection in vain, or found too many waiting',
    () => stats.refused,
  );
  counter(
    'stale_total',
    'Requests lost on a connection that its server had closed while idle',
    () => stats.stale,
  );
}
