import { readFileSync } from 'node:fs';

/**
 * Which process this is, for files that outlive it: ids of processes come again, with the time of its start (in clock
 * ticks since boot, where the system tells it) a process is known.
 */
export interface ProcessIdentity {
  readonly pid: number;
  /** '' where the system does not tell it. */
  readonly startedAt: string;
}

/** @returns null when there is no such process */
export function identityOf(pid: number): ProcessIdentity | null {
  if (!Number.isSafeInteger(pid) || pid <= 0 || !isAlive(pid)) return null;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // After the name, which may hold anything, in brackets: field 3 and on; the start is field 22.
    return { pid, startedAt: stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '' };
  } catch {
    return { pid, startedAt: '' };
  }
}

/** Whether the very process is still there. */
export function isStillThere({ pid, startedAt }: ProcessIdentity): boolean {
  const now = identityOf(pid);
  return now !== null && now.startedAt === startedAt;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
