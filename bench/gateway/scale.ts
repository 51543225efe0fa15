import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { Contender } from './contenders.ts';
import { cpuUs, medianOf } from './figures.ts';
import { measure, setUp, startContender } from './measure.ts';
import type { Bench, BenchParts, Running } from './measure.ts';
import { scaleWorkloads } from './workloads.ts';
import type { Run, WorkloadName } from './workloads.ts';

/**
 * What a request costs where N processes share the port, on N CPUs, beside what it costs with one on one CPU. All
 * else grows with them: each CPU carries one process, its servers and the load it gets, so that what a process shares its caches
 * and its time with is the same. nginx does it with as many workers: what it loses is the machine's.
 */
export async function scale(
  parts: BenchParts,
  contenders: readonly Contender[],
): Promise<readonly ScaleFigure[]> {
  const { processes, rounds } = parts.options;
  const cpus = availableParallelism();
  if (processes > cpus)
    throw new Error(`This machine has ${cpus} CPUs: --processes may be ${cpus} at most, one on each.`);
  const runs: Run[] = [];
  for (let round = 0; round < rounds; round += 1) runs.push(...(await scaleRound(parts, round, contenders)));
  const names = contenders.map(({ name }) => name);
  return scaleFigures(runs, names, processes);
}

export interface ScaleFigure {
  readonly contender: string;
  readonly load: 'closed loop' | 'paced';
  readonly one_us: number;
  readonly all_us: number;
  /** The goal of the gateway is 1.1. */
  readonly all_vs_one: number;
  readonly one_rps: number;
  readonly all_rps: number;
}

/** Medians over rounds, of runs whose contenders are named as `countedName` names them. */
export function scaleFigures(
  runs: readonly Run[],
  names: readonly string[],
  processes: number,
): readonly ScaleFigure[] {
  const loads: readonly (readonly [WorkloadName, ScaleFigure['load']])[] = [
    ['W1', 'closed loop'],
    ['W2', 'paced'],
  ];
  return loads.flatMap(([workload, load]) =>
    names.map((contender) => {
      const us = (count: number) => cpuUs(runs, countedName(contender, count), workload) ?? NaN;
      const rps = (count: number) =>
        Math.round(medianOf(runs, countedName(contender, count), workload, (run) => run.load.rps) ?? NaN);
      return {
        contender,
        load,
        one_us: rounded(us(1), 1),
        all_us: rounded(us(processes), 1),
        all_vs_one: rounded(us(processes) / us(1), 2),
        one_rps: rps(1),
        all_rps: rps(processes),
      };
    }),
  );
}

export const countedName = (contender: string, processes: number): string => `${contender} x${processes}`;
const rounded = (value: number, digits: number): number => Number(value.toFixed(digits));

export function scaleTable(figures: readonly ScaleFigure[], processes: number): string {
  const line = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;
  const head = ['', 'one, CPU us', `${processes}, CPU us`, 'ratio', 'one, rps', `${processes}, rps`];
  const rows = figures.map((one) => [
    `${one.contender}, ${one.load}`,
    ...[one.one_us, one.all_us, one.all_vs_one, one.one_rps, one.all_rps],
  ]);
  return `${[line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')}\n`;
}

interface Stand {
  readonly bench: Bench;
  readonly running: Running;
}

/** All are started anew, and take turns; those whose turn it is not are idle. */
async function scaleRound(
  parts: BenchParts,
  round: number,
  contenders: readonly Contender[],
): Promise<Run[]> {
  const { processes, isQuick } = parts.options;
  const runs: Run[] = [];
  const stands: Stand[] = [];
  try {
    for (const count of [1, processes])
      for (const contender of contenders) await build(parts, round, contender, count, stands);
    for (const at of [0, 1] as const) {
      const first = (round + at) % stands.length;
      for (const stand of [...stands.slice(first), ...stands.slice(0, first)]) {
        const count = stand.bench.setting.options.processes;
        const workload = scaleWorkloads(count, isQuick)[at];
        runs.push(await measure(stand.bench, round, workload, stand.running));
      }
    }
  } finally {
    await Promise.all(
      stands.flatMap(({ bench: own, running }) =>
        [running.child, own.mock.child].map((child) => child.stop()),
      ),
    );
  }
  return runs;
}

/** One contender with servers of its own, all of it on the CPUs of so many processes. */
async function build(
  parts: BenchParts,
  round: number,
  contender: Contender,
  processes: number,
  stands: Stand[],
): Promise<void> {
  const last = parts.options.processes - 1;
  const cpus = processes === 1 ? String(last) : `0-${last}`;
  const options = { ...parts.options, processes, gatewayCpus: cpus, loadCpus: cpus };
  const scratch = join(parts.scratch, `${round}-${contender.name}-${processes}`);
  mkdirSync(scratch);
  const bench = await setUp({ ...parts, scratch, options });
  const named = { ...contender, name: countedName(contender.name, processes) };
  stands.push({ bench, running: await startContender(bench, named) });
}
