import { setTimeout as sleep } from 'node:timers/promises';
import { claimFolder, claimSlot, claimSlotBelow, livingSlots } from './journal-slot.ts';
import type { JournalSlot } from './journal-slot.ts';
import { dealOut, finishFold, foldedFor, takeOver } from './journal-fold.ts';
import type { FoldedFolder } from './journal-fold.ts';

/** So often is looked whether a process has ended. */
const pollMs = 100;

/**
 * A journal of this gateway's. The first process that comes when nobody is there makes the journals fit the number of
 * processes; those that come later take one each. Journals that other processes still have, since they finish their
 * requests, are waited for: one that is begun beside them would know nothing of what they granted.
 * @returns null when there was none for `waitMs`
 */
export async function takeSlot(of: FoldedFolder, waitMs: number): Promise<JournalSlot | null> {
  const untilMs = performance.now() + waitMs;
  for (;;) {
    const slot = inFolder(of.folder, () => ownSlot(of));
    if (slot !== null || performance.now() >= untilMs) return slot;
    await sleep(pollMs);
  }
}

/**
 * One beyond those of this gateway: what the others granted is not known in it.
 * @throws when there is none
 */
export function takeFurtherSlot(folder: string): JournalSlot {
  const slot = inFolder(folder, () => claimSlot(folder));
  if (slot === null) throw new Error(`the budget journals in ${folder} are being changed by another process`);
  return slot;
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
