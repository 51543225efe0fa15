import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * How long from `npm start` to the first chat answer, on a fresh clone with empty caches and again when warm; what
 * each process weighs; and what a request costs the gateway. Figures are printed, never asserted.
 * `npm run bench` prints a table, `npm run bench -- --json` one JSON object; `--warm-only` skips the fresh clone.
 */
const root = new URL('../../', import.meta.url).pathname;
const asJson = process.argv.includes('--json');
const scratch = mkdtempSync(join(tmpdir(), 'muster-bench-'));
const dataDir = join(scratch, 'data');
const [gatewayPort, apiPort, temporalPort, uiPort] = await freePorts();
const gateway = `http://127.0.0.1:${gatewayPort}`;
const chat = { model: 'tiny-llm', messages: [{ role: 'user', content: 'In the beginning' }], max_tokens: 8 };
const iris = { inputs: [{ name: 'X', shape: [1, 4], datatype: 'FP32', data: [5.1, 3.5, 1.4, 0.2] }] };

const environment: Record<string, string | undefined> = {
  ...process.env,
  PATH: (process.env['PATH'] ?? '')
    .split(':')
    .filter((p) => !p.includes('node_modules/.bin'))
    .join(':'),
  MUSTER_DATA_DIR: dataDir,
  MUSTER_GATEWAY_PORT: String(gatewayPort),
  MUSTER_API_PORT: String(apiPort),
  MUSTER_TEMPORAL_PORT: String(temporalPort),
  MUSTER_TEMPORAL_UI_PORT: String(uiPort),
};

const figures: Record<string, unknown> = {};
try {
  const folder = process.argv.includes('--warm-only') ? root : freshClone();
  const first = await timeToFirstChat(folder);
  figures[folder === root ? 'first_start_seconds' : 'cold_start_seconds'] = first.seconds;
  await stop(first.parent);
  const warm = await timeToFirstChat(folder);
  figures['warm_start_seconds'] = warm.seconds;
  await settle();
  figures['gateway_cpu_us_per_v2_request'] = await gatewayCpu('/v2/models/iris/infer', iris);
  figures['memory_mib'] = memory();
  await stop(warm.parent);
} finally {
  rmSync(scratch, { recursive: true, force: true, maxRetries: 5 });
}
print();

/** A clone with caches of its own, so that everything is fetched and made anew. */
function freshClone(): string {
  const folder = join(scratch, 'muster');
  execFileSync('git', ['clone', '--quiet', '--no-hardlinks', root, folder]);
  for (const [variable, name] of [
    ['npm_config_cache', 'npm'],
    ['PIP_CACHE_DIR', 'pip'],
  ] as const) {
    environment[variable] = join(scratch, name);
    mkdirSync(join(scratch, name));
  }
  return folder;
}

async function timeToFirstChat(cwd: string): Promise<{ parent: ChildProcess; seconds: number }> {
  const started = performance.now();
  const parent = spawn('npm', ['start'], {
    cwd,
    env: environment,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  while (!(await answers('/v1/chat/completions', chat))) {
    if (parent.exitCode !== null) throw new Error(`npm start ended with ${parent.exitCode}`);
    await sleep(50);
  }
  return { parent, seconds: round((performance.now() - started) / 1000) };
}

async function stop(parent: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => parent.once('exit', resolve));
  parent.kill('SIGINT');
  await ended;
}

/** Both samples answer, and start-up work has calmed down. */
async function settle(): Promise<void> {
  while (!(await answers('/v2/models/iris/infer', iris))) await sleep(100);
  await sleep(5000);
}

async function answers(path: string, body: unknown): Promise<boolean> {
  try {
    const answer = await fetch(gateway + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    await answer.arrayBuffer();
    return answer.ok;
  } catch {
    return false;
  }
}

/** CPU microseconds of the gateway process per request: 16 callers, 1,000 to warm up, then 4,000 counted. */
async function gatewayCpu(path: string, body: unknown): Promise<number> {
  const pid = processes().find((p) => p.name === 'gateway')?.pid;
  if (pid === undefined) throw new Error('no gateway process found');
  const call = async (count: number) => {
    for (let i = 0; i < count; i += 1) await answers(path, body);
  };
  await Promise.all(Array.from({ length: 16 }, () => call(1000 / 16)));
  const before = cpuMicroseconds(pid);
  await Promise.all(Array.from({ length: 16 }, () => call(4000 / 16)));
  return round((cpuMicroseconds(pid) - before) / 4000);
}

/** utime + stime of /proc/<pid>/stat, in ticks of 10 ms. */
function cpuMicroseconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

function memory(): Record<string, number> {
  const sizes: Record<string, number> = {};
  for (const { pid, name } of processes()) {
    const kib = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    sizes[name] = round((sizes[name] ?? 0) + Number(kib ?? 0) / 1024);
  }
  return sizes;
}

function processes(): { pid: number; name: string }[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry) => {
      try {
        const command = readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0');
        const mine = `${command.join(' ')} ${readFileSync(`/proc/${entry}/environ`, 'utf8')}`.includes(
          dataDir,
        );
        const name = nameOf(command);
        return mine && name ? [{ pid: Number(entry), name }] : [];
      } catch {
        return [];
      }
    });
}

function nameOf(command: readonly string[]): string | undefined {
  const line = command.join(' ');
  if (line.includes('server start-dev') && basename(command[0] ?? '') === 'temporal') return 'temporal';
  if (line.includes('llamacpp/server.py')) return 'model server tiny-llm';
  const file = /(\w+\/)?(\w+)\/main\.ts/.exec(line);
  if (!file) return undefined;
  return file[2] === 'runtime' ? 'model server iris' : file[2];
}

function print(): void {
  if (asJson) {
    console.log(JSON.stringify(figures, null, 2));
    return;
  }
  for (const [name, value] of Object.entries(figures)) {
    if (typeof value === 'object' && value !== null)
      for (const [part, size] of Object.entries(value))
        console.log(`${name.padEnd(34)} ${part.padEnd(24)} ${String(size)}`);
    else console.log(`${name.padEnd(34)} ${String(value)}`);
  }
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

async function freePorts(): Promise<number[]> {
  const servers = [0, 1, 2, 3].map(() => createServer().listen(0, '127.0.0.1'));
  await sleep(100);
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
