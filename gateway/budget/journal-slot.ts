import { createHash, randomBytes } from 'node:crypto';
import { linkSync, readdirSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf } from '../../domain/errors.ts';
import { identityOf, isStillThere } from '../usage/process-identity.ts';
import { readIfThere } from './journal-lines.ts';

/**
 * Journals of a folder, numbered; a lock beside each says whose it is. A lock appears whole, since it is a link to a
 * finished file, and a link fails where the name is taken. That of a dead process is replaced by whoever first gets,
 * in the same way, the right to replace that very text: of several that saw it dead, one.
 */
export interface JournalSlot {
  readonly slot: number;
  /** Of the journal. */
  readonly name: string;
  readonly release: () => void;
}

export function journalName(slot: number): string {
  return `leases-${slot}.journal`;
}

const slotsMax = 256;
/** Of processes that died while they replaced the lock of one that had died while it replaced another. */
const deathsMax = 8;
/** So often another was faster, and gave its lock back before it could be read. */
const roundsMax = 8;

/**
 * The first journal whose owner is not alive.
 * @throws when all are in use, or the folder cannot be written
 */
export function claimSlot(folder: string): JournalSlot {
  const slot = claimSlotBelow(folder, slotsMax);
  if (slot === null) throw new Error(`all ${slotsMax} budget journals in ${folder} are in use`);
  return slot;
}

/** @returns null when the first `slots` are all in use */
export function claimSlotBelow(folder: string, slots: number): JournalSlot | null {
  for (let slot = 0; slot < slots; slot += 1) {
    const release = claimLock(join(folder, `leases-${slot}.lock`));
    if (release !== null) return { slot, name: journalName(slot), release };
  }
  return null;
}

/**
 * The right to change which journals there are, and whose; for a moment.
 * @returns what gives it back; null when a living process has it
 */
export function claimFolder(folder: string): (() => void) | null {
  return claimLock(join(folder, 'leases.lock'));
}

/** Slots whose owners are alive. */
export function livingSlots(folder: string): ReadonlySet<number> {
  const living = new Set<number>();
  for (const name of readdirSync(folder)) {
    const slot = /^leases-(\d+)\.lock$/.exec(name)?.[1];
    const holder = slot === undefined ? null : readIfThere(join(folder, name));
    if (slot !== undefined && holder !== null && isAlive(holder)) living.add(Number(slot));
  }
  return living;
}

function claimLock(lock: string): (() => void) | null {
  const text = `${process.pid} ${identityOf(process.pid)?.startedAt ?? ''} ${randomBytes(8).toString('hex')}`;
  if (!claim(lock, text, deathsMax)) return null;
  return () => {
    if (readIfThere(lock) === text) rmSync(lock, { force: true });
  };
}

/** @returns false when a living process has it, or is about to */
function claim(lock: string, text: string, deaths: number): boolean {
  const finished = `${lock}.${randomBytes(8).toString('hex')}`;
  try {
    writeFileSync(finished, text, { mode: 0o600 });
    for (let round = 0; round < roundsMax; round += 1) {
      if (isLinked(finished, lock)) return true;
      const holder = readIfThere(lock);
      if (holder === null) continue;
      if (isAlive(holder) || deaths === 0) return false;
      if (isReplaced(lock, holder, finished, text, deaths)) return true;
    }
    return false;
  } finally {
    rmSync(finished, { force: true });
  }
}

function isReplaced(lock: string, holder: string, finished: string, text: string, deaths: number): boolean {
  const right = `${lock}.${createHash('sha256').update(holder).digest('hex').slice(0, 16)}`;
  if (!claim(right, text, deaths - 1)) return false;
  try {
    // Another may have had the right before, have replaced the lock and given the right back.
    if (readIfThere(lock) !== holder) return false;
    renameSync(finished, lock);
    return true;
  } finally {
    unlinkSync(right);
  }
}

function isLinked(finished: string, lock: string): boolean {
  try {
    linkSync(finished, lock);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

function isAlive(holder: string): boolean {
  const [pid, startedAt = ''] = holder.split(' ');
  return isStillThere({ pid: Number(pid), startedAt });
}
