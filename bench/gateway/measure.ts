import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pinned, start } from './children.ts';
import type { Child } from './children.ts';
import { freePort } from './contenders.ts';
import type { Contender, Setting } from './contenders.ts';
import { othersMax } from './options.ts';
import type { Options } from './options.ts';
import { makeRoutes } from './routes.ts';
import { workloads } from './workloads.ts';
import type { LoadResult, Run, ServerStats, Workload } from './workloads.ts';

/**
 * The measuring itself. In each round every contender is started anew, and each workload is done by all of them one
 * after another, in an order that turns with the rounds, so that what the machine does besides hits all alike. All of
 * them run the whole round; those whose turn it is not are idle.
 */
export interface Bench extends Loader {
  readonly setting: Setting;
  readonly say: (text: string) => void;
}

export interface Mock {
  readonly child: Child;
  readonly ports: readonly number[];
}

export interface Running {
  readonly contender: Contender;
  readonly child: Child;
  readonly port: number;
}

export interface BenchParts {
  readonly root: string;
  /** A folder that is there. */
  readonly scratch: string;
  readonly options: Options;
  readonly programs: string;
  readonly say: Bench['say'];
}

/** Servers, on the CPUs of the load, and the routes to them. */
export async function setUp(parts: BenchParts): Promise<Bench> {
  const { root, scratch, options, programs, say } = parts;
  const { loadCpus } = options;
  const mock = await startMock(programs, scratch, loadCpus);
  const servers = mock.ports.map((port) => `http://127.0.0.1:${port}`);
  const routes = makeRoutes(servers, options.isBare);
  const setting: Setting = { root, scratch, servers, routesFile: join(scratch, 'routes.json'), options };
  writeFileSync(setting.routesFile, routes.text, { mode: 0o600 });
  return { setting, programs, mock, loadCpus, header: routes.header, say };
}

export async function startMock(programs: string, scratch: string, cpus: string): Promise<Mock> {
  const child = start([join(programs, 'mock'), '-n', '8'], {
    cpus,
    kind: 'pipe',
    logFile: join(scratch, 'mock.log'),
  });
  if (child.process.stdout === null) throw new Error('the mock has no standard output');
  const lines = createInterface({ input: child.process.stdout });
  const [line] = (await Promise.race([
    new Promise<[string]>((resolve) =>
      lines.once('line', (text) => {
        resolve([text]);
      }),
    ),
    sleep(10_000, ['']),
  ])) as [string];
  if (line === '')
    throw new Error(`The mock did not start: ${child.exit() ?? 'it says nothing'}. ${child.log()}`);
  return { child, ports: (JSON.parse(line) as { ports: number[] }).ports };
}

export async function measureRound(
  bench: Bench,
  round: number,
  contenders: readonly Contender[],
): Promise<Run[]> {
  const { options } = bench.setting;
  const runs: Run[] = [];
  const running: Running[] = [];
  try {
    for (const contender of contenders) running.push(await startContender(bench, contender));
    const chosen = workloads(options.isQuick).filter(
      ({ name }) => options.only.length === 0 || options.only.includes(name),
    );
    for (const [at, workload] of chosen.entries()) {
      const able = running.filter(({ contender }) => workload.name !== 'W7' || contender.speaksV2);
      const first = (round + at) % able.length;
      for (const one of [...able.slice(first), ...able.slice(0, first)]) {
        runs.push(await measure(bench, round, workload, one));
      }
      if (workload.hasDirect) runs.push(await measure(bench, round, workload, null));
    }
  } finally {
    await Promise.all(running.map(({ child }) => child.stop()));
  }
  return runs;
}

export async function startContender(bench: Bench, contender: Contender): Promise<Running> {
  const port = await freePort();
  const child = await contender.start(bench.setting, port);
  await ready(bench, contender.name, child, port);
  return { contender, child, port };
}

/** A whole completion must come, not only an answer of a health route. */
async function ready({ header }: Bench, name: string, child: Child, port: number): Promise<void> {
  const [key = '', value = ''] = header === null ? [] : header.split(': ');
  const until = performance.now() + 60_000;
  let last = 'it never answered';
  while (performance.now() < until) {
    if (child.exit() !== null)
      throw new Error(`${name} did not start: ${child.exit() ?? ''}. ${child.log()}`);
    try {
      const answer = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(header === null ? {} : { [key]: value }) },
        body: JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hi' }], max_tokens: 4 }),
      });
      const text = await answer.text();
      if (answer.status === 200 && text.includes('quick brown fox')) return;
      last = `${answer.status} ${text.slice(0, 200)}`;
    } catch (error) {
      last = String(error);
    }
    await sleep(100);
  }
  throw new Error(`${name} does not answer: ${last}. ${child.log()}`);
}

/** @param one null: straight to the mock */
export async function measure(
  bench: Bench,
  round: number,
  workload: Workload,
  one: Running | null,
): Promise<Run> {
  const { options } = bench.setting;
  let calmest = await measureOnce(bench, round, workload, one);
  for (let tries = 0; othersOf(calmest) > othersMax && tries < options.patience; tries += 1) {
    bench.say('         disturbed: again');
    const again = await measureOnce(bench, round, workload, one);
    if (othersOf(again) < othersOf(calmest)) calmest = again;
  }
  return calmest;
}

async function measureOnce(
  bench: Bench,
  round: number,
  workload: Workload,
  one: Running | null,
): Promise<Run> {
  const { mock, setting, say } = bench;
  const contender = one?.contender.name ?? 'direct';
  await admin(mock, `config?${workload.mock}`);
  await admin(mock, 'reset');
  const args = [...workload.load, '-d', `${setting.options.seconds * workload.lengths}s`];
  const load = await runLoad(bench, {
    port: one?.port ?? mock.ports[0] ?? 0,
    session: one?.child.pid ?? 0,
    args,
  });
  const { backends } = (await admin(mock, 'stats')) as { backends: ServerStats[] };
  const run = { round, contender, workload: workload.name, load, servers: backends };
  expectWhole(run, one?.child.log() ?? '');
  say(line(run, workload));
  return run;
}

/** @throws when any request failed, also one of the warm-up: such a run measures something else */
function expectWhole({ contender, workload, load, servers }: Run, log: string): void {
  const bad = load.errors + load.warm_errors + servers.reduce((sum, { bad: n }) => sum + n, 0);
  if (bad === 0 && load.requests > 0) return;
  const sample = load.error_samples?.[0] ?? 'no request was answered';
  throw new Error(`${contender} failed ${bad} requests of ${workload}: ${sample}. ${log}`);
}

/** CPUs that others used meanwhile. */
function othersOf({ load }: Run): number {
  return load.other_cpu_s / load.seconds;
}

function line(run: Run, { unit }: Workload): string {
  const { round, contender, workload, load } = run;
  const us = (load.gw_cpu_s / load[unit]) * 1e6;
  const others = othersOf(run);
  return [
    `round ${round + 1}  ${workload}  ${contender.padEnd(15)} ${us.toFixed(1).padStart(7)} us`,
    `${load.rps.toFixed(0).padStart(6)} rps  p50 ${(load.lat_us?.p50 ?? 0).toFixed(0)} us`,
    others > othersMax ? `(others used ${others.toFixed(1)} CPUs)` : '',
  ].join('  ');
}

export async function admin({ ports }: Mock, what: string): Promise<unknown> {
  return (await fetch(`http://127.0.0.1:${ports[0] ?? 0}/admin/${what}`)).json();
}

interface LoadTarget {
  readonly port: number;
  /** Session whose CPU time is summed; 0: none. */
  readonly session: number;
  readonly args: readonly string[];
}

/** What the generator is started with. */
export interface Loader {
  readonly programs: string;
  readonly header: string | null;
  readonly loadCpus: string;
  readonly mock: Mock;
}

/** @throws when the generator itself fails; errors of requests are in the result */
export async function runLoad(loader: Loader, target: LoadTarget): Promise<LoadResult> {
  const { programs, header, loadCpus, mock } = loader;
  const [program = '', ...args] = pinned(
    [
      ...[join(programs, 'load'), '-leash', '-addr', `127.0.0.1:${target.port}`],
      ...(header === null ? [] : ['-H', header]),
      ...['-sid', String(target.session), '-mockpid', String(mock.child.pid)],
      ...target.args,
    ],
    loadCpus,
  );
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  if (code !== 0) throw new Error(`The load generator ended with ${code ?? 'a signal'}: ${err.slice(-300)}`);
  return JSON.parse(out) as LoadResult;
}
