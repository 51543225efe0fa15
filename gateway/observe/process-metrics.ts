import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Gauge, collectDefaultMetrics } from 'prom-client';
import type { Aggregator, Registry } from 'prom-client';

/**
 * prom-client's metrics of the process, but for the delays of the event loop: its sampler wakes the process a hundred
 * times a second, for ever (a third of what an idle gateway costs: 2.9 ms of CPU a second, 2.0 without it), and its
 * figures hold those ten milliseconds. Here each turn of the loop tells how long it took, under the same names.
 */
export function collectProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: neverMs });
  const turns = monitorEventLoopDelay({ samplePerIteration: true });
  turns.enable();
  const seconds = (ns: number) => (turns.count === 0 ? 0 : ns / 1e9);
  const figures: readonly (readonly [string, Aggregator, () => number])[] = [
    ['min', 'min', () => turns.min],
    ['max', 'max', () => turns.max],
    ['mean', 'average', () => turns.mean],
    ['stddev', 'average', () => turns.stddev],
    ['p50', 'average', () => turns.percentile(50)],
    ['p90', 'average', () => turns.percentile(90)],
    ['p99', 'average', () => turns.percentile(99)],
  ];
  const gauges = new Map<Gauge, () => number>();
  // The first one reads all, so that all are of the same turns: metrics are collected in their order.
  const collect = () => {
    for (const [gauge, read] of gauges) gauge.set(seconds(read()));
    turns.reset();
  };
  for (const [figure, aggregator, read] of figures) {
    const name = `nodejs_eventloop_lag_${figure}_seconds`;
    const help = `Time that a turn of the event loop took, since the last scrape: ${figure}.`;
    registry.removeSingleMetric(name);
    const isFirst = gauges.size === 0;
    gauges.set(
      new Gauge({ name, help, registers: [registry], aggregator, ...(isFirst ? { collect } : {}) }),
      read,
    );
  }
}

/** The longest that a timer can be, 24 days: prom-client has no switch for its sampler. */
const neverMs = 2 ** 31 - 1;
