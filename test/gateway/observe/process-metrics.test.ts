import { describe, expect, jest, test } from '@jest/globals';
import { Registry, collectDefaultMetrics } from 'prom-client';
import { pino } from 'pino';
import { buildFront } from '../../../gateway/front/front.ts';
import { defaultLimits } from '../../../gateway/limits.ts';
import { registerProcessMetrics } from '../../../gateway/observe/process-metrics.ts';

const namesOf = (registry: Registry) => registry.getMetricsAsArray().map(({ name }) => name);

describe('metrics of the process', () => {
  test('are the defaults of prom-client, but for those that wake an idle process all the time', () => {
    const [ours, theirs] = [new Registry(), new Registry()];
    registerProcessMetrics(ours);
    collectDefaultMetrics({ register: theirs });
    const missing = namesOf(theirs).filter((name) => !namesOf(ours).includes(name));
    expect(namesOf(ours).filter((name) => !namesOf(theirs).includes(name))).toEqual([]);
    expect(missing.length).toBeGreaterThan(0);
    expect(missing.filter((name) => !name.startsWith('nodejs_eventloop_lag'))).toEqual([]);
    expect(namesOf(ours)).toEqual(
      expect.arrayContaining(['process_cpu_seconds_total', 'nodejs_gc_duration_seconds']),
    );
  });

  test.each([true, false])('tell how long the event loop stood still (own reader: %s)', async (isLean) => {
    const registry = new Registry();
    const nobody = () => {
      throw new Error('nobody asks');
    };
    const app = buildFront({
      limits: defaultLimits,
      logger: pino({ level: 'silent' }),
      registry,
      isDraining: () => false,
      handle: nobody,
      refuse: nobody,
      isLean,
    });
    try {
      await app.listen({ host: '127.0.0.1', port: 0 });
      const busyUntil = performance.now() + 600;
      while (performance.now() < busyUntil); // as a long piece of work in one turn
      await new Promise((resolve) => setTimeout(resolve, 20));
      const delay = await registry.getSingleMetric('muster_gateway_event_loop_delay_seconds')?.get();
      const valueOf = (end: string) =>
        delay?.values.find((one) => 'metricName' in one && one.metricName === `${delay.name}_${end}`)?.value;
      expect(valueOf('count')).toBeGreaterThanOrEqual(1);
      expect(valueOf('sum')).toBeGreaterThan(0.3); // the tick was to come within 250 ms
    } finally {
      await app.close();
    }
  });

  test('ticks from when it listens until its server ends', async () => {
    const registry = new Registry();
    const made = jest.spyOn(globalThis, 'setInterval');
    const cleared = jest.spyOn(globalThis, 'clearInterval');
    try {
      const app = buildFront({
        limits: defaultLimits,
        logger: pino({ level: 'silent' }),
        registry,
        isDraining: () => false,
        handle: () => undefined,
        refuse: () => undefined,
      });
      await app.ready();
      expect(made).not.toHaveBeenCalled();
      await app.listen({ host: '127.0.0.1', port: 0 });
      expect(made).toHaveBeenCalled();
      await app.close();
      const ended = new Set<unknown>(cleared.mock.calls.map(([timer]) => timer));
      expect(made.mock.results.filter(({ value }) => !ended.has(value))).toEqual([]);
    } finally {
      made.mockRestore();
      cleared.mockRestore();
    }
  });
});
