import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { anonymous } from '../../../domain/access/caller.ts';
import { BudgetsPolicy } from '../../../domain/budget/budget-policy.schema.ts';
import type { LeaseAnswer, LeaseCall } from '../../../domain/budget/lease-book.ts';
import { Budgets } from '../../../gateway/budget/budgets.ts';
import { LeaseJournal, MemoryLeases } from '../../../gateway/budget/journal.ts';
import { startSmallDisk, withSmallDisk } from '../../fixtures/budget/small-disk.ts';

const logger = pino({ level: 'silent' });
const limits = { tokens: 1_000, micros: Infinity };
const none = { tokens: 0, micros: 0 };

let folder: string;
let now: number;
let journals: LeaseJournal[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'muster-journal-'));
  now = Date.parse('2026-11-24T12:00:00Z');
  journals = [];
});
afterEach(async () => {
  for (const journal of journals) await journal.close().catch(() => undefined);
  rmSync(folder, { recursive: true, force: true });
});

const options = (at: string, processes = 1) => ({ folder: at, processes, logger, now: () => now });
const open = async (at = folder, processes = 1): Promise<LeaseJournal> => {
  const journal = await LeaseJournal.open(options(at, processes));
  journals.push(journal);
  return journal;
};
const call = (tokens: number, sequence: number, granted = 0): LeaseCall => ({
  ...{ gateway: 'g', sequence, want: { tokens, micros: 0 }, granted: { tokens: granted, micros: 0 } },
  ...{ offline: none, spent: none, epoch: '', known: none, newEpoch: 'e' },
});
const leaseOf = async (
  journal: LeaseJournal | MemoryLeases,
  window: string,
  asked: LeaseCall,
): Promise<LeaseAnswer> => {
  const answer = await journal.lease(window, Infinity, limits, asked);
  if (answer === null) throw new Error('there is no answer');
  return answer;
};
const lease = (
  journal: LeaseJournal | MemoryLeases,
  tokens: number,
  sequence: number,
  granted = 0,
): Promise<LeaseAnswer> => leaseOf(journal, 'w|total', call(tokens, sequence, granted));
/** What a new process finds: the old one's lock names a process that is not there. */
const asAfterCrash = (): string => {
  const copy = mkdtempSync(join(folder, 'copy-'));
  for (const name of readdirSync(folder))
    if (name.endsWith('.journal')) cpSync(join(folder, name), join(copy, name));
  writeFileSync(join(copy, 'leases-0.lock'), '999999999 1');
  return copy;
};

describe('the journal of leases', () => {
  test('knows after a crash all that was leased: what of it was not spent counts as spent', async () => {
    const journal = await open();
    await lease(journal, 300, 1);
    await lease(journal, 200, 2, 300);
    const next = await open(asAfterCrash());
    expect(await lease(next, 900, 1)).toMatchObject({ grant: { tokens: 500 }, total: { tokens: 1_000 } });
    expect(await lease(next, 1, 2, 500)).toMatchObject({ grant: { tokens: 0 } });
  });

  test('knows after a clean end what was given back', async () => {
    const journal = await open();
    await lease(journal, 300, 1);
    await lease(journal, -120, 2, 300);
    await journal.close();
    expect(await lease(await open(), 0, 1)).toMatchObject({ total: { tokens: 180 } });
  });

  test('knows after each clean end what answers used beyond what was set aside', async () => {
    const known: number[] = [];
    for (let run = 0; run < 5; run += 1) {
      const budgets = new Budgets({
        ...{ source: await open(), isShared: false, gatewayId: `g${run}`, processes: 1 },
        ...{ gateways: () => 1, now: () => now, nowMs: () => now, onChange: () => undefined },
      });
      const leased = new Promise<void>((resolve) => {
        budgets.whenLeased(() => {
          resolve();
        });
      });
      budgets.use(BudgetsPolicy.parse([{ id: 'all', period: 'total', limitTokens: 10_000 }]), 1);
      const [account] = budgets.accountsOf({ caller: anonymous, namespace: 'default', model: 'm' });
      await leased;
      const share = account!.share;
      known.push(share.knownTokens - share.granted.tokens);
      if (share.covers(60, 0)) {
        share.reserve(60, 0);
        share.settle(60, 0, 4_000, 0);
      }
      await budgets.close();
    }
    expect(known).toEqual([0, 4_000, 8_000, 10_000, 10_000]);
  });

  test('cut at any byte says what was leased by some moment before, and goes on from there', async () => {
    const journal = await open();
    for (let at = 1; at <= 5; at += 1) await lease(journal, 100, at, (at - 1) * 100);
    const bytes = readFileSync(join(folder, 'leases-0.journal'));
    const totals = new Set<number>();
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const copy = mkdtempSync(join(folder, 'cut-'));
      writeFileSync(join(copy, 'leases-0.journal'), bytes.subarray(0, cut));
      const next = await LeaseJournal.open(options(copy));
      const { total } = await lease(next, 50, 1);
      totals.add(total.tokens - 50);
      await next.close();
      const again = await LeaseJournal.open(options(copy));
      expect((await lease(again, 0, 1)).total).toEqual(total);
      await again.close();
    }
    expect([...totals]).toEqual([0, 100, 200, 300, 400, 500]);
  });

  test('leaves out lines that somebody changed', async () => {
    const journal = await open();
    await lease(journal, 100, 1);
    await journal.lease('other|total', Infinity, limits, call(70, 1));
    const copy = asAfterCrash();
    const path = join(copy, 'leases-0.journal');
    writeFileSync(path, readFileSync(path, 'utf8').replace(',100,', ',1,'));
    const next = await open(copy);
    expect((await lease(next, 0, 1)).total.tokens).toBe(0);
    expect((await leaseOf(next, 'other|total', call(0, 1))).total.tokens).toBe(70);
  });

  test('is one for each process, and that of a process that is gone is taken over', async () => {
    const [first, second] = [await open(folder, 2), await open(folder, 2)];
    await lease(first, 10, 1);
    await lease(second, 20, 1);
    expect(readdirSync(folder).sort()).toEqual([
      'leases-0.journal',
      'leases-0.lock',
      'leases-1.journal',
      'leases-1.lock',
      'leases.processes',
    ]);
    await first.close();
    const third = await open(folder, 2);
    expect((await lease(third, 0, 1)).total.tokens).toBe(10);
  });

  test('forgets windows soon after their end', async () => {
    const journal = await open();
    const endMs = now + 3_600_000;
    await journal.lease('short|hour', endMs, limits, call(5, 1));
    await lease(journal, 7, 1);
    await journal.close();
    now = endMs + 2 * 3_600_000;
    await (await open()).close();
    const text = readFileSync(join(folder, 'leases-0.journal'), 'utf8');
    expect(text).toContain('w|total');
    expect(text).not.toContain('short|hour');
  });

  test('that cannot be read is not taken for an empty one', async () => {
    mkdirSync(join(folder, 'leases-0.journal'));
    await expect(open()).rejects.toThrow('EISDIR');
    rmSync(join(folder, 'leases-0.journal'), { recursive: true });
    await open(); // its lock was given back
    expect(readdirSync(folder).sort()).toEqual(['leases-0.journal', 'leases-0.lock', 'leases.processes']);
  });

  test('stays small, however often is leased', async () => {
    const journal = await open();
    const names = Array.from({ length: 40 }, (_, at) => `${'account'.repeat(100)}-${at}|total`);
    for (let round = 1; round <= 45; round += 1)
      await Promise.all(
        names.map((name) => journal.lease(name, Infinity, limits, call(1, round, round - 1))),
      );
    expect(readFileSync(join(folder, 'leases-0.journal')).length).toBeLessThan(1_100_000);
    const next = await open(asAfterCrash());
    expect((await leaseOf(next, names[0]!, call(0, 1))).total.tokens).toBe(45);
  });

  withSmallDisk('goes on in memory when the disk is full, and writes again when it is not', async () => {
    const disk = startSmallDisk();
    try {
      const journal = await open(disk.folder);
      await lease(journal, 100, 1);
      disk.fill();
      // Until the page that is begun is full.
      for (let at = 2; at < 300; at += 1) await lease(journal, 1, at, 98 + at);
      expect(journal.failures).toBeGreaterThan(0);
      expect(await lease(journal, 1, 300, 398)).toMatchObject({ total: { tokens: 399 } });
      disk.free();
      await lease(journal, 1, 301, 399);
      writeFileSync(join(disk.folder, 'leases-0.lock'), '999999999 1');
      const next = await open(disk.folder);
      expect((await lease(next, 0, 1)).total.tokens).toBe(400);
    } finally {
      disk.close();
    }
  });

  withSmallDisk('loses no lease that comes behind half a line, nor those that were not written', async () => {
    const disk = startSmallDisk();
    try {
      const journal = await open(disk.folder);
      await journal.lease('other|total', Infinity, limits, call(70, 1));
      await lease(journal, 100, 1);
      disk.fill();
      for (let at = 2; journal.failures === 0; at += 1) await lease(journal, 1, at, 98 + at);
      const path = join(disk.folder, 'leases-0.journal');
      expect(readFileSync(path, 'utf8')).toMatch(/[^\n]$/); // the disk was full within a line
      await journal.lease('other|total', Infinity, limits, call(5, 2, 70));
      disk.free();
      const { total } = await lease(journal, 1, 10_000, 900);
      const copy = mkdtempSync(join(folder, 'copy-'));
      cpSync(path, join(copy, 'leases-0.journal'));
      const next = await open(copy);
      expect((await lease(next, 0, 1)).total).toEqual(total);
      expect((await leaseOf(next, 'other|total', call(0, 1))).total.tokens).toBe(75);
    } finally {
      disk.close();
    }
  });
});

test('leases in memory begin anew with each process, and hold the limit until then', async () => {
  const memory = new MemoryLeases(() => now);
  expect(await lease(memory, 900, 1)).toMatchObject({ grant: { tokens: 900 } });
  expect(await lease(memory, 900, 2, 900)).toMatchObject({ grant: { tokens: 100 } });
  await memory.close();
});

test('leases in memory are forgotten soon after the end of their window', async () => {
  const memory = new MemoryLeases(() => now);
  const endMs = now + 3_600_000;
  const short = (gateway: string) => memory.lease('short|hour', endMs, limits, { ...call(900, 1), gateway });
  await short('a');
  now = endMs + 600_000; // its last requests may still be under way
  expect(await short('b')).toMatchObject({ grant: { tokens: 100 } });
  now = endMs + 2 * 3_600_000;
  await lease(memory, 1, 1);
  expect(await short('c')).toMatchObject({ grant: { tokens: 900 } });
});

test('leases in memory are forgotten in time, though the clock was ahead for a moment', async () => {
  const memory = new MemoryLeases(() => now);
  const begin = now;
  now = begin + 1_000 * 3_600_000;
  await lease(memory, 1, 1);
  now = begin;
  const endMs = now + 3_600_000;
  const short = (gateway: string) => memory.lease('short|hour', endMs, limits, { ...call(900, 1), gateway });
  await short('a');
  now = endMs + 2 * 3_600_000;
  await lease(memory, 1, 1);
  expect(await short('c')).toMatchObject({ grant: { tokens: 900 } });
});
