import { setTimeout as sleep } from 'node:timers/promises';
import { claimFolder, claimSlot, claimSlotBelow, livingSlots } from './journal-slot.ts';
import type { JournalSlot } from './journal-slot.ts';
import { dealOut, finishFold, foldedFor, takeOver } from './journal-fold.ts';
import type { FoldedFolder } from './journal-fold.ts';

/** So often is looked whether a process has ended. */
const pollMs = 100;
/** The lock of a folder is had for a moment: who has it longer than this hangs. */
const furtherMs = 5_000;

/**
 * A journal of this gateway's. The first process that comes when nobody is there makes the journals fit the number of
 * processes; those that come later take one each. Journals that other processes still have, since they finish their
 * requests, are waited for: one that is begun beside them would know nothing of what they granted.
 * @param signal aborted: it is waited no longer
 * @returns null when there was none for `waitMs`
 */
export function takeSlot(of: FoldedFolder, waitMs: number, signal: AbortSignal): Promise<JournalSlot | null> {
  return untilTaken(of.folder, () => ownSlot(of), waitMs, signal);
}

/**
 * One beyond those of this gateway: what the others granted is not known in it.
 * @param signal aborted: it is waited no longer
 * @returns null when other processes were at the folder all the time
 * @throws when all are in use
 */
export function takeFurtherSlot(folder: string, signal: AbortSignal): Promise<JournalSlot | null> {
  return untilTaken(folder, () => claimSlot(folder), furtherMs, signal);
}

async function untilTaken(
  folder: string,
  take: () => JournalSlot | null,
  waitMs: number,
  signal: AbortSignal,
): Promise<JournalSlot | null> {
  const untilMs = performance.now() + waitMs;
  while (!signal.aborted) {
    const slot = inFolder(folder, take);
    if (slot !== null || performance.now() >= untilMs) return slot;
    await sleep(pollMs, undefined, { signal }).catch(() => undefined);
  }
  return null;
}

function ownSlot(of: FoldedFolder): JournalSlot | null {
  const { folder, processes } = of;
  const living = livingSlots(folder);
  if (living.size === 0) dealOut(of);
  else if (foldedFor(folder) !== processes) return null; // they are another gateway's, of other processes
  const slot = claimSlotBelow(folder, processes);
  if (slot === null) return null;
  try {
    takeOver(of, slot.slot, living);
  } catch (error) {
    slot.release();
    throw error;
  }
  return slot;
}

/** @returns null when another process is at it */
function inFolder(folder: string, take: () => JournalSlot | null): JournalSlot | null {
  const release = claimFolder(folder);
  if (release === null) return null;
  try {
    finishFold(folder);
    return take();
  } finally {
    release();
  }
}
