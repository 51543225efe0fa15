import { Counter, Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import type { SocketStats } from '../upstream/socket/stats.ts';

/** Connections to servers, read from plain numbers when scraped. */
export function registerUpstreamMetrics(registry: Registry, stats: SocketStats): void {
  const registers = [registry];
  const states: [string, () => number][] = [
    ['busy', () => stats.connections - stats.idle],
    ['idle', () => stats.idle],
  ];
  new Gauge({
    name: 'muster_gateway_upstream_connections',
    help: 'Connections to servers now; busy: with a request, or being made',
    labelNames: ['state'],
    registers,
    collect() {
      for (const [state, read] of states) this.set({ state }, read());
    },
  });
  new Gauge({
    name: 'muster_gateway_upstream_waiting',
    help: 'Requests that wait for a connection, since their server has as many as it may',
    registers,
    collect() {
      this.set(stats.waiting);
    },
  });
  const counters: [string, string, () => number][] = [
    ['connects_total', 'Connections made', () => stats.opened],
    ['reuses_total', 'Requests that found an idle connection', () => stats.reused],
    [
      'waits_refused_total',
      'Requests that waited for a connection in vain, or found too many waiting',
      () => stats.refused,
    ],
    ['stale_total', 'Requests lost on a connection that its server had closed while idle', () => stats.stale],
  ];
  for (const [name, help, read] of counters) {
    new Counter({
      name: `muster_gateway_upstream_${name}`,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  }
}
