import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { workloadNames } from './workloads.ts';
import type { WorkloadName } from './workloads.ts';

/** What the bench was asked for; a wrong word is an error that says which words there are. */
export interface Options {
  readonly json: boolean;
  readonly rounds: number;
  /** Seconds of one measured window. */
  readonly seconds: number;
  /** How often a window that others disturbed is measured again. */
  readonly patience: number;
  readonly only: readonly WorkloadName[];
  /** Contenders beside nginx and the gateway. */
  readonly peers: readonly string[];
  /** Another checkout of this gateway, with its modules, measured beside it; '': none. */
  readonly beside: string;
  /** Of the gateway, and workers of nginx. */
  readonly processes: number;
  readonly gatewayCpus: string;
  readonly loadCpus: string;
  readonly nice: number;
  /** CPUs sleep as the machine lets them. */
  readonly maySleep: boolean;
  readonly isQuick: boolean;
  /** Everything off: the bare data path. */
  readonly isBare: boolean;
  readonly accessLog: boolean;
  /** One process beside several, each on a CPU of its own, and no bench. */
  readonly isScale: boolean;
  /** Minutes of the soak; 0: no soak but the bench. */
  readonly soakMinutes: number;
  readonly soakStreams: number;
  /** Folder for a CPU profile of the gateway; '': none. */
  readonly profile: string;
}

/** What others may take of the CPUs before a window counts as disturbed: the machine's other work, and what its host takes away. */
export const othersMax = 0.15;

export const usage = `npm run bench:gateway -- [options]

  --json               one JSON object on one line in place of the tables
  --rounds N           interleaved rounds (3)
  --only W1,W3         of ${workloadNames.join(', ')}
  --seconds S          length of a measured window (4); W2's are three times as long
  --patience N         measure a window again, up to N times, while others take more than ${othersMax} CPUs; the calmest counts (0)
  --quick              one round of short windows: a look, not a result
  --with A,B           further contenders: envoy, sglang-router, vllm-router, smg, fastify-undici
  --beside FOLDER      another checkout of this gateway, with its modules, as a further contender: what a change did
  --processes N        of the gateway, and workers of nginx (1)
  --gateway-cpus LIST  for gateways (1)
  --load-cpus LIST     for mock and load generator (0)
  --nice=N             of all processes of the bench, e.g. --nice=-10 on a busy machine (0)
  --may-sleep          leave CPUs that have nothing to do asleep, as the machine does; else they are kept awake (root)
  --bare               without keys, tiers, budgets: the bare data path
  --access-log         with one log line a request
  --profile FOLDER     write CPU profiles of the gateway there, and say where its time goes
  --scale              what a request costs with N processes (2) on N CPUs, and with one on one, in place of the bench
  --soak MINUTES       many open streams, memory over time, in place of the bench
  --streams N          of the soak (5000)
  --help               this text`;

export class UsageError extends Error {}

export function readOptions(args: readonly string[], known: readonly string[]): Options {
  const { values } = parse(args);
  const isQuick = values.quick === true;
  const list = (text: string | undefined): string[] => (text ?? '').split(',').filter((word) => word !== '');
  const only = list(values.only);
  const peers = list(values.with);
  if (values.scale === true) rejectBesideScale(values);
  reject(only, workloadNames, 'workload');
  reject(peers, known, 'contender');
  return {
    json: values.json === true,
    rounds: count('rounds', values.rounds, isQuick ? 1 : 3),
    seconds: count('seconds', values.seconds, isQuick ? 1.5 : 4, 0.5),
    patience: count('patience', values.patience, 0, 0),
    only: only as WorkloadName[],
    peers,
    beside: checkout(values.beside ?? ''),
    processes:
      values.scale === true
        ? count('processes', values.processes, 2, 2)
        : count('processes', values.processes, 1),
    gatewayCpus: values['gateway-cpus'] ?? '1',
    loadCpus: values['load-cpus'] ?? '0',
    nice: Number(values.nice ?? 0),
    maySleep: values['may-sleep'] === true,
    isQuick,
    isBare: values.bare === true,
    accessLog: values['access-log'] === true,
    isScale: values.scale === true,
    soakMinutes: values.soak === undefined ? 0 : count('soak', values.soak, 10, 0.1),
    soakStreams: count('streams', values.streams, 5_000),
    profile: values.profile ?? '',
  };
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  try {
    return parseArgs({
      args: [...args],
      options: {
        json: flag,
        rounds: text,
        only: text,
        seconds: text,
        patience: text,
        quick: flag,
        with: text,
        beside: text,
        processes: text,
        'gateway-cpus': text,
        'load-cpus': text,
        nice: text,
        'may-sleep': flag,
        bare: flag,
        'access-log': flag,
        profile: text,
        scale: flag,
        soak: text,
        streams: text,
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** It has workloads and CPUs of its own, and peers do not know how to be several. */
function rejectBesideScale(values: ReturnType<typeof parse>['values']): void {
  for (const name of ['only', 'with', 'gateway-cpus', 'load-cpus', 'profile', 'soak'] as const) {
    if (values[name] !== undefined) throw new UsageError(`--scale goes without --${name}.`);
  }
}

function checkout(folder: string): string {
  if (folder === '') return '';
  for (const part of ['gateway/main.ts', 'node_modules']) {
    if (!existsSync(join(folder, part)))
      throw new UsageError(`--beside: ${folder} has no ${part}; a checkout with its modules is needed.`);
  }
  return resolve(folder);
}

function reject(given: readonly string[], known: readonly string[], what: string): void {
  for (const word of given) {
    if (!known.includes(word))
      throw new UsageError(`There is no ${what} '${word}'; known: ${known.join(', ')}.`);
  }
}

function count(name: string, text: string | undefined, fallback: number, least = 1): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!(value >= least)) throw new UsageError(`--${name} must be a number of at least ${least}.`);
  return value;
}
