import { addedFirstChunkUs, addedUs, cpuUs, figures, hitRate, isStreamed } from './figures.ts';
import { median, medianOf, spread } from './figures.ts';
import { workloadNames } from './workloads.ts';
import type { LoadResult, Run, WorkloadName } from './workloads.ts';

/** The tables that people read. */
export function report(runs: readonly Run[]): string {
  const names = [...new Set(runs.map(({ contender }) => contender))].filter((name) => name !== 'direct');
  const done = workloadNames.filter((name) => runs.some(({ workload }) => workload === name));
  const rounds = new Set(runs.map(({ round }) => round)).size;
  const cpu = table(
    ['CPU us', ...names, 'muster / nginx'],
    done.map((name) => [
      `${name}, ${isStreamed(name) ? 'a chunk' : 'a request'}`,
      ...names.map((contender) => fixed(cpuUs(runs, contender, name), 1)),
      fixed(ratio(cpuUs(runs, 'muster', name), cpuUs(runs, 'nginx', name)), 2),
    ]),
  );
  const more = table(
    ['', ...names],
    [
      row('W1 requests a second on one core', names, runs, 'W1', (load) => load.rps, 0),
      row('W1 user, us', names, runs, 'W1', (load) => (load.gw_user_s / load.requests) * 1e6, 1),
      row('W1 system, us', names, runs, 'W1', (load) => (load.gw_sys_s / load.requests) * 1e6, 1),
      ['W2 added p50, us', ...names.map((name) => fixed(addedUs(runs, name, 'p50'), 0))],
      ['W2 added p99, us', ...names.map((name) => fixed(addedUs(runs, name, 'p99'), 0))],
      ...(['W3', 'W3b'] as const).map((name) => [
        `${name} first chunk added p50, us`,
        ...names.map((contender) => fixed(addedFirstChunkUs(runs, contender, name), 0)),
      ]),
      row('W3 chunk transit p99, us', names, runs, 'W3', (load) => load.transit_us?.p99 ?? 0, 0),
      ['W4 prefix hits of the ideal, %', ...names.map((name) => fixed(percent(hitRate(runs, name)), 1))],
      ['W4 busiest server / mean', ...names.map((name) => fixed(spread(runs, name), 2))],
      row('memory after W1, MB', names, runs, 'W1', (load) => load.gw_rss_mb, 0),
    ].filter((cells) => cells.slice(1).some((cell) => cell !== '-')),
  );
  const others = median(runs.map(({ load }) => load.other_cpu_s / load.seconds)) ?? 0;
  const summary = table(Object.keys(figures(runs)), [
    Object.values(figures(runs)).map((value) => (value === null ? '-' : String(value))),
  ]);
  return [
    `Medians of ${rounds} round${rounds === 1 ? '' : 's'}.\n`,
    cpu,
    more,
    summary,
    `Other processes used ${others.toFixed(2)} CPUs (median over all windows).`,
  ].join('\n');
}

function row(
  title: string,
  names: readonly string[],
  runs: readonly Run[],
  workload: WorkloadName,
  read: (load: LoadResult) => number,
  digits: number,
): string[] {
  return [
    title,
    ...names.map((name) =>
      fixed(
        medianOf(runs, name, workload, ({ load }) => read(load)),
        digits,
      ),
    ),
  ];
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return `${[line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')}\n`;
}

const ratio = (a: number | null, b: number | null): number | null =>
  a === null || b === null || b === 0 ? null : a / b;
const percent = (value: number | null): number | null => (value === null ? null : value * 100);
const fixed = (value: number | null, digits: number): string => value?.toFixed(digits) ?? '-';
