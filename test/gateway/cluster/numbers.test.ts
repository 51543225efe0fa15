import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { Numbers } from '../../../gateway/cluster/numbers.ts';
import type { MetricJson } from '../../../gateway/cluster/messages.ts';

async function numbersOf(fill: (registry: Registry) => void): Promise<MetricJson[]> {
  const registry = new Registry();
  fill(registry);
  return (await registry.getMetricsAsJSON()) as unknown as MetricJson[];
}

const counted = (value: number, label = 'x') =>
  numbersOf((registry) => {
    new Counter({ name: 'c_total', help: 'c', labelNames: ['l'], registers: [registry] }).inc(
      { l: label },
      value,
    );
  });

const valueOf = (text: string, series: string): number =>
  Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${series} `))
      ?.split(' ')[1],
  );

describe('numbers of several processes', () => {
  test('add up, whatever ended in between, and never go back', async () => {
    const steps = fc.array(
      fc.oneof(
        fc.record({
          kind: fc.constant('count' as const),
          worker: fc.nat(4),
          by: fc.integer({ min: 1, max: 100 }),
        }),
        fc.record({ kind: fc.constant('end' as const), worker: fc.nat(4) }),
      ),
      { minLength: 1, maxLength: 30 },
    );
    await fc.assert(
      fc.asyncProperty(steps, async (all) => {
        const numbers = new Numbers();
        const own = new Map<number, { id: number; value: number }>();
        let ids = 0;
        let total = 0;
        let before = 0;
        for (const step of all) {
          if (step.kind === 'end') {
            const ending = own.get(step.worker);
            if (ending !== undefined) numbers.end(ending.id);
            own.delete(step.worker);
          } else {
            const process = own.get(step.worker) ?? { id: (ids += 1), value: 0 };
            process.value += step.by;
            total += step.by;
            own.set(step.worker, process);
            numbers.set(process.id, await counted(process.value));
          }
          const now = total === 0 ? 0 : valueOf(await numbers.text(), 'c_total{l="x"}');
          expect(now).toBe(total);
          expect(now).toBeGreaterThanOrEqual(before);
          before = now;
        }
      }),
      { numRuns: 50 },
    );
  });

  test('keep series apart by their labels', async () => {
    const numbers = new Numbers();
    numbers.set(1, await counted(2, 'a'));
    numbers.set(2, await counted(3, 'b'));
    const text = await numbers.text(await counted(4, 'a'));
    expect(valueOf(text, 'c_total{l="a"}')).toBe(6);
    expect(valueOf(text, 'c_total{l="b"}')).toBe(3);
  });

  test('of a process that ended keep counts and histograms, and drop gauges and what it said of itself', async () => {
    const fill = (registry: Registry) => {
      const registers = [registry];
      new Gauge({ name: 'g', help: 'g', registers }).set(5);
      new Counter({ name: 'process_cpu_seconds_total', help: 'p', registers }).inc(9);
      new Histogram({ name: 'h', help: 'h', buckets: [1], registers }).observe(0.5);
    };
    const numbers = new Numbers();
    numbers.set(1, await numbersOf(fill));
    numbers.set(2, await numbersOf(fill));
    expect(valueOf(await numbers.text(), 'g')).toBe(10);
    numbers.end(1);
    const text = await numbers.text();
    expect(valueOf(text, 'g')).toBe(5);
    expect(valueOf(text, 'process_cpu_seconds_total')).toBe(9);
    expect(valueOf(text, 'h_bucket{le="1"}')).toBe(2);
    expect(valueOf(text, 'h_count')).toBe(2);
  });

  test('follow the aggregator of a gauge', async () => {
    const version = (value: number) =>
      numbersOf((registry) => {
        new Gauge({ name: 'v', help: 'v', aggregator: 'min', registers: [registry] }).set(value);
      });
    const numbers = new Numbers();
    numbers.set(1, await version(8));
    numbers.set(2, await version(7));
    expect(valueOf(await numbers.text(), 'v')).toBe(7);
  });

  test('take a metric that names no aggregator', async () => {
    const numbers = new Numbers();
    const bare = { name: 'b', type: 'gauge', help: 'b', values: [{ value: 1, labels: {} }] };
    numbers.set(1, [bare]);
    numbers.set(2, [bare]);
    expect(valueOf(await numbers.text(), 'b')).toBe(2);
  });
});
