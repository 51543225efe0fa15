import { expect, test } from '@jest/globals';
import { Registry } from 'prom-client';
import { CacheMetrics } from '../../../gateway/cache/cache-metrics.ts';

const nothing = () => 0;
const gauges = {
  entries: nothing,
  bytes: nothing,
  evictions: nothing,
  flights: nothing,
  waiting: nothing,
  vectors: nothing,
  vectorBytes: nothing,
  isSharedUsable: () => false,
};

test('what is counted for a service is told, however many others the table has, until a new table', async () => {
  const metrics = new CacheMetrics();
  const registry = new Registry();
  metrics.register(registry, gauges);
  const first = metrics.of('default', 'first');
  for (let at = 0; at < 10_000; at += 1) metrics.of('default', `other-${at}`);
  first.results.miss += 1;
  const line = 'requests_total{namespace="default",service="first",result="miss"} 1';
  expect(await registry.metrics()).toContain(line);
  metrics.forgetMany();
  expect(await registry.metrics()).not.toContain(line);
});
