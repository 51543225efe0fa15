import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import {
  addedFirstChunkUs,
  addedUs,
  cpuUs,
  figures,
  hitRate,
  median,
  spread,
} from '../../../bench/gateway/figures.ts';
import { report } from '../../../bench/gateway/report.ts';
import { scaleFigures, scaleTable } from '../../../bench/gateway/scale.ts';
import { slope } from '../../../bench/gateway/soak.ts';
import type { LoadResult, Run, ServerStats, WorkloadName } from '../../../bench/gateway/workloads.ts';

const percentiles = (p50: number, p99: number) => ({ p50, p90: p99, p99, p999: p99, max: p99 });

function run(
  contender: string,
  workload: WorkloadName,
  more: Partial<LoadResult> & { round?: number; servers?: readonly ServerStats[] } = {},
): Run {
  const { round = 0, servers = [], ...load } = more;
  return {
    round,
    contender,
    workload,
    servers,
    load: {
      seconds: 4,
      requests: 1_000,
      errors: 0,
      warm_errors: 0,
      error_samples: null,
      rps: 250,
      chunks: 64_000,
      chunks_per_s: 16_000,
      reconnects: 0,
      dropped: 0,
      lat_us: percentiles(100, 200),
      ttfc_us: percentiles(100, 200),
      transit_us: percentiles(100, 200),
      gw_cpu_s: 0.02,
      gw_user_s: 0.01,
      gw_sys_s: 0.01,
      gw_rss_mb: 100,
      other_cpu_s: 0.4,
      ...load,
    },
  };
}

const server = (hits: number, misses: number): ServerStats => ({
  total: hits + misses,
  hits,
  misses,
  bad: 0,
});

describe('the figures of the bench', () => {
  test('are CPU microseconds a request, and a chunk for streams', () => {
    expect(cpuUs([run('muster', 'W1')], 'muster', 'W1')).toBeCloseTo(20);
    expect(cpuUs([run('muster', 'W3')], 'muster', 'W3')).toBeCloseTo(0.3125);
  });

  test('are medians over rounds, so that one bad round changes nothing', () => {
    const of = (round: number, gw_cpu_s: number) => run('muster', 'W1', { round, gw_cpu_s });
    expect(cpuUs([of(0, 0.02), of(1, 0.9), of(2, 0.03)], 'muster', 'W1')).toBeCloseTo(30);
  });

  test('have as ratio to nginx that of the medians', () => {
    const runs = [run('muster', 'W5', { gw_cpu_s: 0.03 }), run('nginx', 'W5', { gw_cpu_s: 0.02 })];
    expect(figures(runs).w5_vs_nginx).toBe(1.5);
    expect(figures(runs).w1_vs_nginx).toBeNull();
  });

  test('take from a latency that of the direct way in the same round', () => {
    const at = (contender: string, round: number, p50: number, p99: number) =>
      run(contender, 'W2', { round, lat_us: percentiles(p50, p99) });
    const runs = [
      ...[at('direct', 0, 50, 100), at('muster', 0, 200, 900), at('nginx', 0, 150, 500)],
      ...[at('direct', 1, 350, 900), at('muster', 1, 500, 1_700), at('nginx', 1, 450, 1_300)],
    ];
    expect(addedUs(runs, 'muster', 'p50')).toBe(150);
    expect(figures(runs).w2_added_p50_ms).toBe(0.15);
    expect(figures(runs).w2_added_p99_vs_nginx).toBe(2);
  });

  test('take the first chunk of streams that begin one by one', () => {
    const at = (contender: string, p50: number) => run(contender, 'W3b', { ttfc_us: percentiles(p50, p50) });
    const runs = [at('direct', 20_000), at('muster', 20_250), run('muster', 'W3'), run('direct', 'W3')];
    expect(addedFirstChunkUs(runs, 'muster', 'W3b')).toBe(250);
    expect(cpuUs(runs, 'muster', 'W3b')).toBeCloseTo(0.3125);
  });

  test('count a prefix that the server had against those that it could have had', () => {
    const servers = [server(936, 32), server(0, 32)];
    expect(hitRate([run('muster', 'W4', { servers })], 'muster')).toBe(1);
    expect(hitRate([run('muster', 'W4', { servers: [server(468, 532)] })], 'muster')).toBe(0.5);
  });

  test('tell how much more the busiest server had than the mean one', () => {
    expect(spread([run('muster', 'W4', { servers: [server(10, 0), server(20, 0)] })], 'muster')).toBeCloseTo(
      4 / 3,
    );
  });

  test('have exactly the agreed names', () => {
    expect(Object.keys(figures([]))).toEqual([
      ...['w1_vs_nginx', 'w2_added_p50_ms', 'w2_added_p99_vs_nginx', 'w3_vs_nginx', 'w4_hit', 'w4_spread'],
      ...['w4_vs_nginx', 'w5_vs_nginx', 'w7_vs_nginx'],
    ]);
  });

  test('the median lies between the extremes and does not care for order', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ noNaN: true, min: -1e6, max: 1e6 }), { minLength: 1 }), (values) => {
        const value = median(values) ?? NaN;
        expect(value).toBeGreaterThanOrEqual(Math.min(...values));
        expect(value).toBeLessThanOrEqual(Math.max(...values));
        expect(median([...values].reverse())).toBe(value);
      }),
    );
    expect(median([])).toBeNull();
  });

  test('the slope of a straight line is its own, whatever its start', () => {
    fc.assert(
      fc.property(fc.integer({ min: -50, max: 50 }), fc.integer({ min: 0, max: 500 }), (perMinute, first) => {
        const line = [0, 1, 2, 3, 4].map((minute) => ({ minute, mb: first + perMinute * minute }));
        expect(slope(line)).toBeCloseTo(perMinute);
      }),
    );
    expect(slope([])).toBe(0);
  });
});

describe('the tables', () => {
  test('name every contender and workload that was measured, and nothing else', () => {
    const text = report([run('muster', 'W1'), run('nginx', 'W1', { gw_cpu_s: 0.01 }), run('envoy', 'W1')]);
    expect(text).toContain('| CPU us | muster | nginx | envoy | muster / nginx |');
    expect(text).toContain('| W1, a request | 20.0 | 10.0 | 20.0 | 2.00 |');
    expect(text).not.toContain('W4');
    expect(text).toContain('Other processes used 0.10 CPUs');
  });
});

test('several processes are held against one by medians, under the same load', () => {
  const runs = [20, 24, 90].flatMap((us, round) => [
    run('muster x1', 'W1', { round, gw_cpu_s: us / 1_000, rps: 10_000 }),
    run('muster x2', 'W1', { round, gw_cpu_s: (us * 1.05) / 1_000, rps: 19_000 }),
    run('muster x1', 'W2', { round, gw_cpu_s: 0.08, rps: 4_000 }),
    run('muster x2', 'W2', { round, gw_cpu_s: 0.06, rps: 8_000 }),
  ]);
  const scaled = scaleFigures(runs, ['muster'], 2);
  expect(scaled).toEqual([
    {
      ...{ contender: 'muster', load: 'closed loop', one_us: 24, all_us: 25.2, all_vs_one: 1.05 },
      ...{ one_rps: 10_000, all_rps: 19_000 },
    },
    {
      ...{ contender: 'muster', load: 'paced', one_us: 80, all_us: 60, all_vs_one: 0.75 },
      ...{ one_rps: 4_000, all_rps: 8_000 },
    },
  ]);
  expect(scaleTable(scaled, 2)).toContain('| muster, closed loop | 24 | 25.2 | 1.05 | 10000 | 19000 |');
});
