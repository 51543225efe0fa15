import { Counter, Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import type { Activator } from './activator.ts';

/** Requests that wait for sleeping services, and what became of them. */
export function registerActivatorMetrics(registry: Registry, activator: Activator): void {
  const registers = [registry];
  new Gauge({
    name: 'muster_gateway_wake_waiting',
    help: 'Requests that wait for a sleeping service now',
    labelNames: ['namespace', 'service'],
    registers,
    collect() {
      this.reset();
      for (const { namespace, name: service, waiting } of activator.all())
        if (waiting.size > 0) this.set({ namespace, service }, waiting.size);
    },
  });
  const counter = (name: string, help: string, read: () => number): void => {
    new Counter({
      name: `muster_gateway_wake_${name}`,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  };
  counter('calls_total', 'Calls to wake a service', () => activator.total('wakes'));
  counter('calls_failed_total', 'Calls to wake a service that failed', () => activator.total('wakesFailed'));
  counter('held_total', 'Requests that waited for a sleeping service', () => activator.total('held'));
  counter('released_total', 'Requests that went on when it woke', () => activator.total('released'));
  counter('expired_total', 'Requests that waited too long', () => activator.total('expired'));
  counter('refused_total', 'Requests that found no room to wait', () => activator.total('refused'));
  counter('waited_seconds_total', 'Time that the released waited', () => activator.total('waitedMs') / 1000);
}
