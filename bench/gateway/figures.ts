import type { Percentiles, Run, WorkloadName } from './workloads.ts';

/** From runs to figures: medians over rounds, and ratios of such medians. */
export interface Figures {
  readonly w1_vs_nginx: number | null;
  readonly w2_added_p50_ms: number | null;
  readonly w2_added_p99_vs_nginx: number | null;
  readonly w3_vs_nginx: number | null;
  readonly w4_hit: number | null;
  readonly w4_spread: number | null;
  readonly w4_vs_nginx: number | null;
  readonly w5_vs_nginx: number | null;
  readonly w7_vs_nginx: number | null;
}

/** A figure whose workload was not done is null. */
export function figures(runs: readonly Run[]): Figures {
  const ratio = (workload: WorkloadName) =>
    over(cpuUs(runs, 'muster', workload), cpuUs(runs, 'nginx', workload), 2);
  return {
    w1_vs_nginx: ratio('W1'),
    w2_added_p50_ms: rounded(thousandth(addedUs(runs, 'muster', 'p50')), 3),
    w2_added_p99_vs_nginx: over(addedUs(runs, 'muster', 'p99'), addedUs(runs, 'nginx', 'p99'), 2),
    w3_vs_nginx: ratio('W3'),
    w4_hit: rounded(hitRate(runs, 'muster'), 4),
    w4_spread: rounded(spread(runs, 'muster'), 2),
    w4_vs_nginx: ratio('W4'),
    w5_vs_nginx: ratio('W5'),
    w7_vs_nginx: ratio('W7'),
  };
}

/** CPU microseconds of the contender's processes for a request, or for a chunk of a stream. */
export function cpuUs(runs: readonly Run[], contender: string, workload: WorkloadName): number | null {
  return medianOf(runs, contender, workload, ({ load }) => {
    const units = isStreamed(workload) ? load.chunks : load.requests;
    return (load.gw_cpu_s / units) * 1e6;
  });
}

/**
 * Latency that a contender adds at W2: its percentile, from a request's actual send to the end of its answer, less
 * that of the direct way in the same round. A percentile added in noise may come out below nothing: then it is 1 us.
 */
export function addedUs(runs: readonly Run[], contender: string, which: keyof Percentiles): number | null {
  return added(runs, contender, 'W2', ({ load }) => load.lat_us?.[which]);
}

/** Whether the unit of work is a chunk. */
export function isStreamed(workload: WorkloadName): boolean {
  return workload === 'W3' || workload === 'W3b';
}

/** Median time to the first chunk that a contender adds. */
export function addedFirstChunkUs(
  runs: readonly Run[],
  contender: string,
  workload: 'W3' | 'W3b',
): number | null {
  return added(runs, contender, workload, ({ load }) => load.ttfc_us?.p50);
}

function added(
  runs: readonly Run[],
  contender: string,
  workload: WorkloadName,
  read: (run: Run) => number | undefined,
): number | null {
  const direct = new Map(
    of(runs, 'direct', workload).map((run): [number, number | undefined] => [run.round, read(run)]),
  );
  const values = of(runs, contender, workload).flatMap((run) => {
    const with_ = read(run);
    const without = direct.get(run.round);
    return with_ === undefined || without === undefined ? [] : [with_ - without];
  });
  const value = median(values);
  return value === null ? null : Math.max(1, value);
}

/** Share of requests whose prefix the server had, of those that could have: each group is new to the cache once. */
export function hitRate(runs: readonly Run[], contender: string, groups = 64): number | null {
  return medianOf(runs, contender, 'W4', ({ servers }) => {
    const hits = servers.reduce((sum, server) => sum + server.hits, 0);
    const all = servers.reduce((sum, server) => sum + server.hits + server.misses, 0);
    return hits / Math.max(1, all - groups);
  });
}

/** Requests of the busiest server over those of the mean one. */
export function spread(runs: readonly Run[], contender: string): number | null {
  return medianOf(runs, contender, 'W4', ({ servers }) => {
    const totals = servers.map(({ total }) => total);
    return Math.max(...totals) / (totals.reduce((sum, total) => sum + total, 0) / totals.length);
  });
}

export function medianOf(
  runs: readonly Run[],
  contender: string,
  workload: WorkloadName,
  read: (run: Run) => number,
): number | null {
  return median(of(runs, contender, workload).map(read));
}

export function median(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const high = sorted[middle];
  if (high === undefined) return null;
  return sorted.length % 2 === 1 ? high : (high + (sorted[middle - 1] ?? high)) / 2;
}

function of(runs: readonly Run[], contender: string, workload: WorkloadName): readonly Run[] {
  return runs.filter((run) => run.contender === contender && run.workload === workload);
}

function over(a: number | null, b: number | null, digits: number): number | null {
  return a === null || b === null || b === 0 ? null : rounded(a / b, digits);
}

const thousandth = (value: number | null): number | null => (value === null ? null : value / 1_000);

function rounded(value: number | null, digits: number): number | null {
  return value === null ? null : Number(value.toFixed(digits));
}
