import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess, StdioOptions } from 'node:child_process';
import { closeSync, openSync, readFileSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Processes of the bench, each in a session of its own, so that its CPU time is summed and its end is sure. */
export interface Child {
  /** Also the id of its session. */
  readonly pid: number;
  readonly process: ChildProcess;
  /** Null while it runs. */
  exit(): string | null;
  /** The end of what it wrote. */
  log(): string;
  stop(): Promise<void>;
}

export interface ChildOptions {
  readonly cpus: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly logFile: string;
  readonly cwd?: string;
  /** `ipc`: it ends by itself when the bench is killed. `pipe`: its standard output is read. */
  readonly kind?: 'ipc' | 'pipe';
}

const all = new Set<Child>();

export function start(command: readonly string[], options: ChildOptions): Child {
  const [program = '', ...args] = pinned(command, options.cpus);
  const log = openSync(options.logFile, 'w');
  const stdio: StdioOptions =
    options.kind === 'pipe'
      ? ['pipe', 'pipe', log]
      : ['ignore', log, log, ...(options.kind === 'ipc' ? ['ipc' as const] : [])];
  const child = spawn(program, args, {
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdio,
    detached: true, // a session of its own
  });
  closeSync(log);
  let exit: string | null = null;
  child.on('error', (error) => (exit = error.message));
  child.on('exit', (code, signal) => (exit ??= `it ended with ${signal ?? `exit code ${code ?? '?'}`}`));
  const pid = child.pid ?? -1;
  const started: Child = {
    pid,
    process: child,
    exit: () => exit,
    log: () => readFileSync(options.logFile, 'utf8').slice(-600),
    stop: () => end(started),
  };
  all.add(started);
  return started;
}

export async function stopAll(): Promise<void> {
  await Promise.all([...all].map((child) => child.stop()));
}

/** For the last moment, when nothing can be awaited. */
export function killAll(): void {
  for (const { pid } of all) signalSession(pid, 'SIGKILL');
}

const priority = { nice: 0 };

/** Of every process that is started from now on. */
export function setNice(nice: number): void {
  priority.nice = nice;
}

export function pinned(command: readonly string[], cpus: string): readonly string[] {
  const nice = priority.nice === 0 ? [] : ['nice', '-n', String(priority.nice)];
  return [...nice, ...(cpus === '' ? [] : ['taskset', '-c', cpus]), ...command];
}

/** Whether a program can be started at all. */
export function has(program: string, args: readonly string[]): boolean {
  return spawnSync(program, args, { stdio: 'ignore' }).error === undefined;
}

async function end(child: Child): Promise<void> {
  for (const [signal, waitMs] of [
    ['SIGTERM', 5_000],
    ['SIGKILL', 2_000],
  ] as const) {
    signalSession(child.pid, signal);
    const until = performance.now() + waitMs;
    while (performance.now() < until && members(child.pid).length > 0) await sleep(25);
  }
  all.delete(child);
}

function signalSession(session: number, signal: NodeJS.Signals): void {
  for (const pid of members(session)) {
    try {
      process.kill(pid, signal);
    } catch {
      // it has just ended
    }
  }
}

/** Ids of the processes of a session; zombies are none. */
export function members(session: number): number[] {
  if (session <= 0) return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
        const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        return fields[3] === String(session) && fields[0] !== 'Z';
      } catch {
        return false;
      }
    })
    .map(Number);
}
