import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { bootIdFile, startOf } from '../../domain/process/process-stat.ts';

/**
 * Which process is meant. A pid alone is reused by the system; with the time at which the process started it
 * names one process for ever. Records of pids in the data folder are always such pairs.
 */
export interface ProcessIdentity {
  readonly pid: number;
  /** Opaque; equal for the same process only. */
  readonly started: string;
}

/** @returns null when no such process runs (a zombie does not run). */
export function identify(pid: number): ProcessIdentity | null {
  const started = process.platform === 'linux' ? startedOnLinux(pid) : startedByPs(pid);
  return started === null ? null : { pid, started };
}

export function isAlive(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.started === identity.started;
}

/**
 * Sends a signal if that very process still runs; to its whole group where it leads one (what was started in a session
 * of its own, with the workers that it forked). @returns false when it is gone.
 */
export function signal(identity: ProcessIdentity, name: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  for (const target of [-identity.pid, identity.pid]) {
    try {
      process.kill(target, name);
      return true;
    } catch {
      // It leads no group, or ended just now.
    }
  }
  return false;
}

/** SIGTERM, then SIGKILL after `graceMs`; returns when all are gone, or those that are not. */
export async function endAll(
  identities: readonly ProcessIdentity[],
  graceMs: number,
): Promise<readonly ProcessIdentity[]> {
  for (const identity of identities) signal(identity, 'SIGTERM');
  const left = await waitUntilGone(identities, graceMs);
  for (const identity of left) signal(identity, 'SIGKILL');
  return waitUntilGone(left, 5000);
}

/** @returns those still alive after `timeoutMs`. */
export async function waitUntilGone(
  identities: readonly ProcessIdentity[],
  timeoutMs: number,
): Promise<readonly ProcessIdentity[]> {
  const deadline = performance.now() + timeoutMs;
  let left = identities.filter(isAlive);
  while (left.length > 0 && performance.now() < deadline) {
    await sleep(50);
    left = left.filter(isAlive);
  }
  return left;
}

function startedOnLinux(pid: number): string | null {
  try {
    boot ??= readFileSync(bootIdFile, 'utf8');
    return startOf(readFileSync(`/proc/${pid}/stat`, 'utf8'), boot);
  } catch {
    return null;
  }
}

let boot: string | undefined;

function startedByPs(pid: number): string | null {
  const result = spawnSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], {
    encoding: 'utf8',
    env: { LC_ALL: 'C', PATH: '/bin:/usr/bin' },
  });
  const line = result.stdout.trim();
  if (result.status !== 0 || line === '' || line.startsWith('Z')) return null;
  // As the node agent writes it in its records: without the state, with single blanks.
  return line.split(/\s+/).slice(1).join(' ');
}
