import { describe, expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { Registry, collectDefaultMetrics } from 'prom-client';
import { collectProcessMetrics } from '../../../gateway/observe/process-metrics.ts';

const names = (text: string) => [...text.matchAll(/^# TYPE (\S+ \S+)$/gm)].map((parts) => parts[1]).sort();
const valueOf = (text: string, name: string) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
const lag = (figure: string) => `nodejs_eventloop_lag_${figure}_seconds`;

describe('the process’s own numbers', () => {
  const registry = new Registry();
  collectProcessMetrics(registry);

  test('they are prom-client’s, by name and kind', async () => {
    const theirs = new Registry();
    collectDefaultMetrics({ register: theirs });
    expect(names(await registry.metrics())).toEqual(names(await theirs.metrics()));
  });

  test('a turn of the loop that took long is told at the next scrape, and only there', async () => {
    await registry.metrics();
    await sleep(20);
    const until = performance.now() + 80;
    while (performance.now() < until);
    await sleep(20);
    const text = await registry.metrics();
    expect(valueOf(text, lag('max'))).toBeGreaterThan(0.075);
    // Without the ten milliseconds of a sampler's own pace.
    expect(valueOf(text, lag('min'))).toBeLessThan(0.005);
    expect(valueOf(text, lag('p99'))).toBeGreaterThanOrEqual(valueOf(text, lag('p50')));
    await sleep(20);
    expect(valueOf(await registry.metrics(), lag('max'))).toBeLessThan(0.075);
  });

  test('two scrapes in one moment say numbers', async () => {
    await registry.metrics();
    for (const figure of ['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99'])
      expect(valueOf(await registry.metrics(), lag(figure))).toBeGreaterThanOrEqual(0);
  });
});
