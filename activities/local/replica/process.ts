import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { closeLog, openLog } from './log-file.ts';
import { processIdentity } from './process-identity.ts';

export interface Exit {
  /** Null when the process was not our child, so that nobody told us. */
  readonly code: number | null;
  readonly signal: string | null;
  /** The program could not be started at all. */
  readonly error?: string;
}

export interface SpawnInput {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly logPath: string;
}

/**
 * Starts a server in its own session, so that no signal meant for the agent's group reaches it and it outlives
 * the agent. Its output goes to the log by a descriptor of its own; no pipe ties it to us.
 * @returns its pid, or null when the program does not exist; `onExit` is called once in both cases
 */
export function spawnServer(input: SpawnInput, onExit: (exit: Exit) => void): number | null {
  const [program, ...args] = input.argv;
  if (program === undefined) {
    onExit({ code: 127, signal: null, error: 'The command is empty.' });
    return null;
  }
  const log = openLog(input.logPath);
  try {
    const child = spawn(program, args, {
      cwd: input.cwd,
      env: { ...input.env },
      detached: true,
      stdio: ['ignore', log, log],
    });
    let isOver = false;
    const end = (exit: Exit): void => {
      if (isOver) return;
      isOver = true;
      onExit(exit);
    };
    child.once('error', (error: NodeJS.ErrnoException) => {
      end({ code: 127, signal: null, error: cannotStart(program, error) });
    });
    child.once('exit', (code, signal) => {
      end({ code, signal });
    });
    child.unref();
    return child.pid ?? null;
  } finally {
    closeLog(log);
  }
}

function cannotStart(program: string, error: NodeJS.ErrnoException): string {
  if (error.code === 'ENOENT') return `The program ${program} is not in the environment's folders.`;
  if (error.code === 'EACCES') return `The program ${program} may not be executed.`;
  return `The program ${program} could not be started: ${error.message}`;
}

/** SIGTERM to the process and all that it started, SIGKILL after the grace; returns when the process is gone. */
export async function stopServer(pid: number, identity: string, graceMs: number): Promise<void> {
  if ((await processIdentity(pid)) !== identity) return;
  signalGroup(pid, 'SIGTERM');
  if (await isGone(pid, identity, graceMs)) {
    // What it left behind in its group (a forked worker) must not hold the port or the memory.
    signalGroup(pid, 'SIGKILL');
    return;
  }
  signalGroup(pid, 'SIGKILL');
  if (!(await isGone(pid, identity, killWaitMs))) {
    throw new Error(`Process ${String(pid)} did not end ${String(killWaitMs / 1000)} s after SIGKILL.`);
  }
}

const killWaitMs = 30_000;

/** A server leads its own group, so its negative pid names the group. */
function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Gone already.
  }
}

async function isGone(pid: number, identity: string, timeoutMs: number): Promise<boolean> {
  const endMs = performance.now() + timeoutMs;
  for (let pauseMs = 10; ; pauseMs = Math.min(pauseMs * 2, 200)) {
    if ((await processIdentity(pid)) !== identity) return true;
    const leftMs = endMs - performance.now();
    if (leftMs <= 0) return false;
    await sleep(Math.min(pauseMs, leftMs));
  }
}
