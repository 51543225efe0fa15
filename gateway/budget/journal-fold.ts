import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import writeFileAtomic from 'write-file-atomic';
import { checkedLine, readCheckedLine } from '../usage/checked-line.ts';
import { lineOf, readIfThere, readJournal } from './journal-lines.ts';
import type { JournalLine } from './journal-lines.ts';
import { journalName } from './journal-slot.ts';

/**
 * Journals that become other journals: those of a gateway with another number of processes, and those that nobody will
 * ever read again. What all of them granted stays granted, once: the whole change is one file first, and whoever comes
 * after a crash carries it out again before anybody has a journal. All of it is done under the lock of the folder.
 */
interface Fold {
  readonly processes: number;
  /** What each journal is to hold, by slot. */
  readonly journals: Readonly<Record<number, string>>;
  /** Slots whose journals go. */
  readonly gone: readonly number[];
}

export interface FoldedFolder {
  readonly folder: string;
  /** Of this gateway. */
  readonly processes: number;
  readonly logger: Logger;
}

const foldFile = 'leases.fold';
/** For how many processes the journals of this folder are. */
const processesFile = 'leases.processes';

/** @returns null where nobody has said so */
export function foldedFor(folder: string): number | null {
  const text = readIfThere(join(folder, processesFile));
  return text === null ? null : Number(text);
}

/** What was begun by a process that died is carried out. */
export function finishFold(folder: string): void {
  const text = readIfThere(join(folder, foldFile));
  if (text === null) return;
  const json = readCheckedLine(text.trimEnd());
  // It appears whole or not at all; one that somebody changed says nothing, and the journals are as they were.
  if (json === null) rmSync(join(folder, foldFile), { force: true });
  else apply(folder, JSON.parse(json) as Fold);
}

/**
 * Nobody has a journal of this folder: what all of them granted is dealt out evenly, as the limits are.
 * @throws when one cannot be read
 */
export function dealOut({ folder, processes, logger }: FoldedFolder): void {
  const slots = slotsOf(folder);
  const isFitting = slots.every((slot) => slot < processes);
  if (isFitting && foldedFor(folder) === processes) return;
  const sums = sumsOf(folder, slots, logger);
  const journals = Object.fromEntries(
    Array.from({ length: processes }, (_, slot) => [slot, textOf(sums, slot, processes)]),
  );
  commit(folder, { processes, journals, gone: slots.filter((slot) => slot >= processes) });
}

/** The caller has `slot`, and nobody those of the others that no process of this gateway will ever have. */
export function takeOver(
  { folder, processes, logger }: FoldedFolder,
  slot: number,
  living: ReadonlySet<number>,
): void {
  const gone = slotsOf(folder).filter((other) => other >= processes && !living.has(other));
  if (gone.length === 0) return;
  const sums = sumsOf(folder, [slot, ...gone], logger);
  commit(folder, { processes, journals: { [slot]: textOf(sums, 0, 1) }, gone });
}

function commit(folder: string, fold: Fold): void {
  write(join(folder, foldFile), checkedLine(JSON.stringify(fold)));
  apply(folder, fold);
}

/** May be done again from its begin, after it was done in part. */
function apply(folder: string, { processes, journals, gone }: Fold): void {
  for (const [slot, text] of Object.entries(journals)) write(join(folder, journalName(Number(slot))), text);
  for (const slot of gone) rmSync(join(folder, journalName(slot)), { force: true });
  write(join(folder, processesFile), String(processes));
  rmSync(join(folder, foldFile), { force: true });
}

function slotsOf(folder: string): number[] {
  const found = readdirSync(folder).map((name) => /^leases-(\d+)\.journal$/.exec(name)?.[1]);
  return found.filter((slot) => slot !== undefined).map(Number);
}

function sumsOf(folder: string, slots: readonly number[], logger: Logger): JournalLine[] {
  const sums = new Map<string, JournalLine>();
  for (const slot of slots) {
    for (const [window, { endMs, tokens, micros }] of readJournal(join(folder, journalName(slot)), logger)) {
      const sum = sums.get(window);
      sums.set(window, {
        ...{ window, endMs },
        ...{ tokens: tokens + (sum?.tokens ?? 0), micros: micros + (sum?.micros ?? 0) },
      });
    }
  }
  return [...sums.values()];
}

function textOf(sums: readonly JournalLine[], slot: number, parts: number): string {
  return sums
    .map(({ window, endMs, tokens, micros }) => {
      const total = { tokens: part(tokens, slot, parts), micros: part(micros, slot, parts) };
      return lineOf(window, endMs, total);
    })
    .join('');
}

/** Parts differ by one at most, and add up. */
function part(sum: number, slot: number, parts: number): number {
  const whole = Math.floor(sum / parts);
  return slot < sum - whole * parts ? whole + 1 : whole;
}

function write(path: string, text: string): void {
  writeFileAtomic.sync(path, text, { mode: 0o600, fsync: true });
}
