/**
 * The workloads: what the load generator does, and how the mock behaves meanwhile. Chat bodies are one fixed text,
 * but for W4, whose 64 groups share a prefix of 2 KB each, twice as many as one server's cache holds times two.
 * Streams that begin together stay in step for ever (W3): all of them send their next request in the same moment. W3b
 * has as many at once, each begun in its own.
 */
export const workloadNames = ['W1', 'W2', 'W3', 'W3b', 'W4', 'W5', 'W7'] as const;
export type WorkloadName = (typeof workloadNames)[number];

export interface Workload {
  readonly name: WorkloadName;
  readonly title: string;
  readonly load: readonly string[];
  /** Query of the mock's /admin/config. */
  readonly mock: string;
  /** What the CPU time is divided by. */
  readonly unit: 'requests' | 'chunks';
  /** Also measured with nothing between load generator and mock. */
  readonly hasDirect: boolean;
  /** Its windows are so many times as long as others: of 500 requests a second, few are beyond a 99th percentile. */
  readonly lengths: number;
}

const still = 'delay_us=0&ttft_us=0&cache=0';
const paced = { mock: 'delay_us=10000&ttft_us=20000&cache=0', unit: 'chunks', hasDirect: true } as const;

/** @param isQuick shorter warm-ups: a look, not a result */
export function workloads(isQuick: boolean): readonly Workload[] {
  const warm = (seconds: number, requests: number): string[] => [
    '-warm',
    `${isQuick ? seconds / 2 : seconds}s`,
    '-warmn',
    String(isQuick ? requests / 10 : requests),
  ];
  const of = (
    name: WorkloadName,
    title: string,
    load: readonly string[],
    more: Partial<Workload> = {},
  ): Workload => ({
    name,
    title,
    load,
    mock: still,
    unit: 'requests',
    hasDirect: false,
    lengths: 1,
    ...more,
  });
  return [
    of('W1', 'chat of 1 KB, 64 connections, closed loop', [
      '-c',
      '64',
      '-size',
      '1024',
      ...warm(1.5, 20_000),
    ]),
    of('W2', 'chat of 1 KB, 500 a second', ['-c', '64', '-size', '1024', '-rate', '500', ...warm(0.5, 250)], {
      hasDirect: true,
      lengths: 3,
    }),
    of(
      'W3',
      '64 streams of 64 chunks, a chunk each 10 ms',
      ['-c', '64', '-stream', '-chunks', '64', ...warm(5, 0)],
      paced,
    ),
    of(
      'W3b',
      '96 streams a second of 64 chunks, a chunk each 10 ms',
      ['-c', '128', '-stream', '-chunks', '64', '-rate', '96', ...warm(2, 0)],
      paced,
    ),
    of(
      'W4',
      '8 servers whose caches hold 16 prefixes each, 64 groups of 2 KB prefix, 3 KB',
      ['-c', '32', '-groups', '64', '-prefix', '2048', '-size', '3072', ...warm(1.5, 10_000)],
      { mock: 'delay_us=0&ttft_us=0&cache=1' },
    ),
    of('W5', 'chat of 32 KB, 32 connections', ['-c', '32', '-size', '32768', ...warm(1, 5_000)]),
    of('W7', 'V2 infer of 1 KB, 64 connections', [
      ...['-c', '64', '-kind', 'v2', '-path', '/v2/models/m/infer', '-size', '1024'],
      ...warm(1, 10_000),
    ]),
  ];
}

/**
 * W1 and W2 for so many processes, each with the same load: 32 connections that ask at once when they were answered, and
 * 4,000 requests a second.
 */
export function scaleWorkloads(processes: number, isQuick: boolean): readonly [Workload, Workload] {
  const of = (name: WorkloadName, title: string, connections: number, more: readonly string[]): Workload => ({
    ...{ name, title, mock: still, unit: 'requests', hasDirect: false, lengths: 1 },
    load: ['-c', String(connections * processes), '-size', '1024', ...more],
  });
  const warm = String((isQuick ? 2_000 : 20_000) * processes);
  return [
    of('W1', 'chat of 1 KB, 32 connections a process, closed loop', 32, ['-warm', '1s', '-warmn', warm]),
    of('W2', 'chat of 1 KB, 4,000 a second and process', 64, [
      ...['-rate', String(4_000 * processes)],
      ...['-warm', '0.5s'],
    ]),
  ];
}

/** What `load` prints. Times are microseconds. */
export interface LoadResult {
  readonly seconds: number;
  readonly requests: number;
  readonly errors: number;
  readonly warm_errors: number;
  readonly error_samples: readonly string[] | null;
  readonly rps: number;
  readonly chunks: number;
  readonly chunks_per_s: number;
  readonly reconnects: number;
  readonly dropped: number;
  readonly lat_us: Percentiles | null;
  readonly ttfc_us: Percentiles | null;
  readonly transit_us: Percentiles | null;
  readonly gw_cpu_s: number;
  readonly gw_user_s: number;
  readonly gw_sys_s: number;
  readonly gw_rss_mb: number;
  readonly other_cpu_s: number;
}

export interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** Of the mock's /admin/stats. */
export interface ServerStats {
  readonly total: number;
  readonly hits: number;
  readonly misses: number;
  readonly bad: number;
}

export interface Run {
  readonly round: number;
  readonly contender: string;
  readonly workload: WorkloadName;
  readonly load: LoadResult;
  readonly servers: readonly ServerStats[];
}
