import { Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import { plainMetrics } from '../observe/plain-metrics.ts';
import type { Activator } from './activator.ts';

/** Requests that wait for sleeping services, and what became of them. */
export function registerActivatorMetrics(registry: Registry, activator: Activator): void {
  new Gauge({
    name: 'muster_gateway_wake_waiting',
    help: 'Requests that wait for a sleeping service now',
    labelNames: ['namespace', 'service'],
    registers: [registry],
    collect() {
      this.reset();
      for (const { namespace, name: service, waiting } of activator.all())
        if (waiting.size > 0) this.set({ namespace, service }, waiting.size);
    },
  });
  const metrics = plainMetrics(registry, 'muster_gateway_wake_');
  metrics.counter('calls_total', 'Calls to wake a service', () => activator.total('wakes'));
  metrics.counter('calls_failed_total', 'Calls to wake a service that failed', () =>
    activator.total('wakesFailed'),
  );
  metrics.counter('held_total', 'Requests that waited for a sleeping service', () => activator.total('held'));
  metrics.counter('released_total', 'Requests that went on when it woke', () => activator.total('released'));
  metrics.counter('expired_total', 'Requests that waited too long', () => activator.total('expired'));
  metrics.counter('refused_total', 'Requests that found no room to wait', () => activator.total('refused'));
  metrics.counter(
    'waited_seconds_total',
    'Time that the released waited',
    () => activator.total('waitedMs') / 1000,
  );
}
