import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { MusterError } from '../../domain/errors.ts';
import { isAlive, type ProcessIdentity } from './process-identity.ts';

/**
 * One parent a data folder. The lock is a file that appears whole (a link to a finished file fails when the name
 * is taken) and names its owner by pid and start time. A dead owner's lock is taken over: whoever may replace the
 * lock with nonce N must first get the lock file `takeover-N` in the same way, so that two starters who both saw
 * the dead owner cannot both win, and a winner who dies halfway is replaced by the same rule.
 */
export interface LockOwner extends ProcessIdentity {
  readonly nonce: string;
  readonly since: string;
}

/** A takeover of a takeover of a takeover: more deaths in a row than that mean something else is wrong. */
const TAKEOVERS_MAX = 8;

/** @throws MusterError already_running, with the living owner in its message */
export function acquireLock(file: string, self: ProcessIdentity, now: Date): LockOwner {
  const owner: LockOwner = { ...self, nonce: randomBytes(8).toString('hex'), since: now.toISOString() };
  acquire(file, owner, TAKEOVERS_MAX);
  return owner;
}

/** Gives the lock back, unless it has become another's. */
export function releaseLock(file: string, owner: LockOwner): void {
  if (readLock(file)?.nonce === owner.nonce) rmSync(file, { force: true });
}

/** @returns null when there is no lock or it cannot be read. */
export function readLock(file: string): LockOwner | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as LockOwner;
  } catch {
    return null;
  }
}

function acquire(file: string, owner: LockOwner, left: number): void {
  const finished = `${file}.${owner.nonce}.${left}`;
  writeFileSync(finished, `${JSON.stringify(owner)}\n`, { mode: 0o600 });
  try {
    for (let round = 0; round < TAKEOVERS_MAX; round += 1) {
      if (tryLink(finished, file)) return;
      const holder = readLock(file);
      if (holder === null) continue;
      if (isAlive(holder)) throw alreadyRunning(holder, dirname(dirname(file)));
      if (left === 0) break;
      const takeover = join(dirname(file), `takeover-${holder.nonce}`);
      acquire(takeover, owner, left - 1);
      // While we waited for it another may have replaced the dead owner already, and given `takeover` back.
      const replaced = readLock(file)?.nonce !== holder.nonce;
      if (!replaced) renameSync(finished, file);
      unlinkSync(takeover);
      if (!replaced) return;
    }
    throw new MusterError(
      'already_running',
      `The lock ${file} cannot be taken; remove it if Muster is not running.`,
    );
  } finally {
    rmSync(finished, { force: true });
  }
}

function tryLink(finished: string, file: string): boolean {
  try {
    linkSync(finished, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function alreadyRunning(holder: LockOwner, folder: string): MusterError {
  return new MusterError(
    'already_running',
    `Muster is already running on ${folder} (process ${holder.pid}, since ${holder.since}). ` +
      'Stop it with `npx muster down`, or set MUSTER_DATA_DIR to start a second one elsewhere.',
  );
}
