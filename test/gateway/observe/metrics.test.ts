import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Histogram, Registry } from 'prom-client';
import type { RoutedService } from '../../../domain/routing/routes.ts';
import { GatewayMetrics } from '../../../gateway/observe/metrics.ts';

const service = (name: string) =>
  ({ key: `default/${name}`, route: { namespace: 'default', name } }) as unknown as RoutedService;
const bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];
const lines = (text: string, begin: string) => text.split('\n').filter((line) => line.startsWith(begin));

describe('the gateway’s numbers', () => {
  test('times are counted into the same buckets as by prom-client itself', async () => {
    const times = fc.oneof(
      fc.double({ min: 0, max: 1e6, noNaN: true }),
      fc.constantFrom(...bounds.map((s) => s * 1000)),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(times, { minLength: 1, maxLength: 50 }), async (all) => {
        const metrics = new GatewayMetrics(
          () => true,
          () => 0,
          true,
        );
        const registry = new Registry();
        const theirs = new Histogram({
          name: 'muster_gateway_request_seconds',
          help: 'h',
          labelNames: ['protocol', 'namespace', 'service'],
          buckets: bounds,
          registers: [registry],
        });
        for (const ms of all) {
          metrics.observe(metrics.ofService(service('m')), 'openai', 200, ms, -1);
          theirs.observe({ protocol: 'openai', namespace: 'default', service: 'm' }, ms / 1000);
        }
        const read = async (from: Registry) => {
          const values = new Map<string, number>();
          for (const line of lines(await from.metrics(), 'muster_gateway_request_seconds_')) {
            const [labels = '', value] = line.split('} ');
            values.set(labels.split(/[{,]/).sort().join(), Number(value));
          }
          return values;
        };
        expect(await read(metrics.registry)).toEqual(await read(registry));
      }),
      { numRuns: 30 },
    );
  });

  test('each status counts for itself, first bytes only where there was one', async () => {
    const metrics = new GatewayMetrics(
      () => true,
      () => 0,
      true,
    );
    const numbers = metrics.ofService(service('m'));
    for (const code of [200, 200, 404, 499, 503, 599])
      metrics.observe(numbers, 'v2', code, 3, code === 200 ? 1 : -1);
    metrics.observe(metrics.ofService(null), 'openai', 400, 1, -1);
    const text = await metrics.text();
    const got = lines(text, 'muster_gateway_requests_total').map((line) => [
      /code="(\d+)"/.exec(line)?.[1],
      line.split(' ').pop(),
    ]);
    expect(got).toEqual([
      ['200', '2'],
      ['404', '1'],
      ['499', '1'],
      ['503', '1'],
      ['599', '1'],
      ['400', '1'],
    ]);
    expect(
      lines(text, 'muster_gateway_ttfb_seconds_count').filter((line) => line.includes('service="m"')),
    ).toEqual(['muster_gateway_ttfb_seconds_count{protocol="v2",namespace="default",service="m"} 2']);
  });

  test('what left the table is told once more, then forgotten; a new service of the same name begins anew', async () => {
    let isAlive = true;
    const metrics = new GatewayMetrics(
      () => isAlive,
      () => 0,
      true,
    );
    metrics.observe(metrics.ofService(service('m')), 'openai', 200, 1, 1);
    isAlive = false;
    expect(lines(await metrics.text(), 'muster_gateway_requests_total')).toHaveLength(1);
    expect(lines(await metrics.text(), 'muster_gateway_requests_total')).toHaveLength(0);
    metrics.observe(metrics.ofService(service('m')), 'openai', 200, 1, 1);
    expect(lines(await metrics.text(), 'muster_gateway_requests_total')[0]).toMatch(/ 1$/);
  });
});
