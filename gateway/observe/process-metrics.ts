import { createRequire } from 'node:module';
import { Histogram, collectDefaultMetrics } from 'prom-client';
import type { Registry } from 'prom-client';

/**
 * The default metrics of prom-client, but for its lag of the event loop: node's sampler behind that wakes an idle process
 * 100 times a second (figures: gateway/README.md). How late the front's own tick comes tells the same.
 */
export function registerProcessMetrics(registry: Registry): void {
  for (const name of collectDefaultMetrics.metricsList) {
    if (name === sampled) continue;
    const register = load(`prom-client/lib/metrics/${name}.js`) as (registry: Registry) => void;
    register(registry);
  }
}

/**
 * What whoever comes at a random moment waits until he is seen.
 * @returns takes how much later than planned a timer was called, in milliseconds
 */
export function loopDelay(registry: Registry): (lateMs: number) => void {
  const delay = new Histogram({
    name: 'muster_gateway_event_loop_delay_seconds',
    help: 'How late a timer was, a few times a second',
    registers: [registry],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
  });
  return (lateMs) => {
    delay.observe(Math.max(0, lateMs) / 1000);
  };
}

const sampled = 'eventLoopLag';
const load = createRequire(import.meta.url);
