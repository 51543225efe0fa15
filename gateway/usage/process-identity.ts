import { readFileSync } from 'node:fs';
import { bootIdFile, startOf } from '../../domain/process/process-stat.ts';

/** Which process this is, for files that outlive it. */
export interface ProcessIdentity {
  readonly pid: number;
  /** '' where the system does not tell it: then a pid that comes again is taken for the same process. */
  readonly startedAt: string;
}

/** @returns null when there is no such process */
export function identityOf(pid: number): ProcessIdentity | null {
  if (!Number.isSafeInteger(pid) || pid <= 0) return null;
  if (process.platform !== 'linux') return isAlive(pid) ? { pid, startedAt: '' } : null;
  try {
    const startedAt = startOf(readFileSync(`/proc/${pid}/stat`, 'utf8'), readFileSync(bootIdFile, 'utf8'));
    return startedAt === null ? null : { pid, startedAt };
  } catch {
    return null;
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
