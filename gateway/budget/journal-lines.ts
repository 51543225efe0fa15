import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import type { Limits } from '../../domain/budget/lease-book.ts';
import { codeOf } from '../../domain/errors.ts';
import { checkedLine, readCheckedLine } from '../usage/checked-line.ts';

/** All that was granted of one window; of several lines for one window the last counts. */
export interface JournalLine {
  readonly window: string;
  /** Infinity: never. */
  readonly endMs: number;
  readonly tokens: number;
  readonly micros: number;
}

export function lineOf(window: string, endMs: number, total: Limits): string {
  return checkedLine(JSON.stringify([window, endMs === Infinity ? null : endMs, total.tokens, total.micros]));
}

/**
 * By window; without lines that are damaged, which is said.
 * @throws when it is there and cannot be read
 */
export function readJournal(path: string, logger: Logger): ReadonlyMap<string, JournalLine> {
  const lines = new Map<string, JournalLine>();
  let bad = 0;
  for (const line of (readIfThere(path) ?? '').split('\n')) {
    if (line === '') continue;
    const json = readCheckedLine(line);
    if (json === null) {
      bad += 1;
      continue;
    }
    const [window, endMs, tokens, micros] = JSON.parse(json) as [string, number | null, number, number];
    lines.set(window, { window, endMs: endMs ?? Infinity, tokens, micros });
  }
  if (bad > 0) logger.warn({ path, bad }, 'the budget journal has damaged lines: they were left out');
  return lines;
}

export function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw error;
  }
}
