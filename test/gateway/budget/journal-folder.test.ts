import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { anonymous } from '../../../domain/access/caller.ts';
import { BudgetsPolicy } from '../../../domain/budget/budget-policy.schema.ts';
import type { LeaseAnswer } from '../../../domain/budget/lease-book.ts';
import type { BudgetAccount } from '../../../gateway/budget/budget-account.ts';
import { Budgets } from '../../../gateway/budget/budgets.ts';
import { lineOf } from '../../../gateway/budget/journal-lines.ts';
import { LeaseJournal } from '../../../gateway/budget/journal.ts';
import { checkedLine } from '../../../gateway/usage/checked-line.ts';
import { identityOf } from '../../../gateway/usage/process-identity.ts';

const none = { tokens: 0, micros: 0 };
const dead = '999999999 1';

let folder: string;
let logs: { level: number; msg: string }[];
let journals: LeaseJournal[];
let other: ChildProcess;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'muster-folder-'));
  [logs, journals] = [[], []];
  other = spawn('sleep', ['60']);
});
afterEach(async () => {
  other.kill('SIGKILL');
  for (const journal of journals) await journal.close();
  rmSync(folder, { recursive: true, force: true });
});

const logger = pino(
  { level: 'info' },
  { write: (line: string) => logs.push(JSON.parse(line) as (typeof logs)[number]) },
);
const open = async (
  processes: number,
  more: { waitMs?: number; leaseWaitMs?: number } = {},
): Promise<LeaseJournal> => {
  const journal = await LeaseJournal.open({ folder, processes, logger, now: Date.now, ...more });
  journals.push(journal);
  return journal;
};
const openAll = async (processes: number): Promise<LeaseJournal[]> => {
  const all: LeaseJournal[] = [];
  for (let at = 0; at < processes; at += 1) all.push(await open(processes));
  return all;
};
const closeAll = async (): Promise<void> => {
  for (const journal of journals.splice(0)) await journal.close();
};
const ask = (journal: LeaseJournal, tokens: number, window = 'w|total'): Promise<LeaseAnswer | null> =>
  journal.lease(
    window,
    Infinity,
    { tokens: 1_000, micros: Infinity },
    {
      ...{ gateway: 'g', sequence: 1, want: { tokens, micros: 0 }, granted: none },
      ...{ offline: none, spent: none, epoch: '', known: none, newEpoch: 'e' },
    },
  );
const lease = async (...asked: Parameters<typeof ask>): Promise<LeaseAnswer> => {
  const answer = await ask(...asked);
  if (answer === null) throw new Error('there is no answer');
  return answer;
};
const totals = (all: readonly LeaseJournal[], window?: string): Promise<number[]> =>
  Promise.all(all.map(async (journal) => (await lease(journal, 0, window)).total.tokens));
/** As a process that was killed, or that lives, leaves a journal. */
const leave = (slot: number, tokens: number, owner: string): void => {
  writeFileSync(
    join(folder, `leases-${slot}.journal`),
    lineOf('w|total', Infinity, { tokens, micros: tokens }),
  );
  writeFileSync(join(folder, `leases-${slot}.lock`), owner);
};
const living = (): string => {
  const { pid, startedAt } = identityOf(other.pid!)!;
  return `${pid} ${startedAt} x`;
};
const until = async (isSo: () => Promise<boolean>): Promise<void> => {
  for (let time = 0; time < 100 && !(await isSo()); time += 1) await sleep(50);
};
const end = async (): Promise<void> => {
  other.kill('SIGKILL');
  await once(other, 'exit');
};

describe('journals of a gateway with another number of processes', () => {
  test('know together what those before them granted, to the token, each as much as the others', async () => {
    const [first] = await openAll(1);
    await lease(first!, 103);
    await closeAll();
    const four = await openAll(4);
    expect(await totals(four)).toEqual([26, 26, 26, 25]);
    await lease(four[1]!, 5, 'late|total');
    await closeAll();
    const three = await openAll(3);
    expect(await totals(three)).toEqual([35, 34, 34]);
    expect(await totals(three, 'late|total')).toEqual([2, 2, 1]);
    await closeAll();
    expect(await totals(await openAll(1))).toEqual([103]);
    expect(readdirSync(folder).sort()).toEqual(['leases-0.journal', 'leases-0.lock', 'leases.processes']);
  });

  test('are kept apart as they are while the number stays the same', async () => {
    const [, second] = await openAll(2);
    await lease(second!, 8);
    await closeAll();
    expect(await totals(await openAll(2))).toEqual([0, 8]);
  });

  test('are made of those of an older gateway, which did not say how many it had', async () => {
    for (const slot of [0, 1, 2]) leave(slot, 10, dead);
    expect(await totals(await openAll(2))).toEqual([15, 15]);
  });

  test('begin when the last of those before them has ended', async () => {
    leave(0, 10, dead);
    leave(1, 20, living());
    writeFileSync(join(folder, 'leases.processes'), '2');
    const opening = [open(4), open(4), open(4), open(4)];
    await sleep(300);
    expect(readFileSync(join(folder, 'leases.processes'), 'utf8')).toBe('2');
    await end();
    expect((await totals(await Promise.all(opening))).sort()).toEqual([7, 7, 8, 8]);
  });

  test.each([0, 1, 2, 3, 4, 5])('are whole after a crash before step %d of the change', async (steps) => {
    for (const slot of [0, 1, 2]) leave(slot, 10, dead);
    const half = lineOf('w|total', Infinity, { tokens: 15, micros: 15 });
    const fold = { processes: 2, journals: { 0: half, 1: half }, gone: [2] };
    writeFileSync(join(folder, 'leases.fold'), checkedLine(JSON.stringify(fold)));
    const done = [
      () => {
        writeFileSync(join(folder, 'leases-0.journal'), half);
      },
      () => {
        writeFileSync(join(folder, 'leases-1.journal'), half);
      },
      () => {
        rmSync(join(folder, 'leases-2.journal'));
      },
      () => {
        writeFileSync(join(folder, 'leases.processes'), '2');
      },
      () => {
        rmSync(join(folder, 'leases.fold'));
      },
    ];
    for (const step of done.slice(0, steps)) step();
    expect(await totals(await openAll(2))).toEqual([15, 15]);
    expect(readdirSync(folder)).not.toContain('leases.fold');
  });

  test('are what they were when somebody changed the file that says what they become', async () => {
    for (const slot of [0, 1]) leave(slot, 10, dead);
    writeFileSync(join(folder, 'leases.fold'), '00000000 {"processes":1,"journals":{},"gone":[0,1]}\n');
    expect(await totals(await openAll(1))).toEqual([20]);
  });
});

describe('journals that another process still has', () => {
  test('are waited for by leases, while the gateway begins, and it is said', async () => {
    leave(0, 10, living());
    writeFileSync(join(folder, 'leases.processes'), '1');
    const journal = await open(1);
    expect(logs.map(({ msg }) => msg)).toEqual([expect.stringContaining('leases wait for them')]);
    let isAnswered = false;
    const answer = lease(journal, 5).then((got) => {
      isAnswered = true;
      return got;
    });
    await sleep(200);
    expect(isAnswered).toBe(false);
    leave(0, 30, living()); // it grants while it ends
    await end();
    expect((await answer).total.tokens).toBe(35);
  });

  test('are given up after a while, which is said; and what was granted meanwhile counts afterwards, once', async () => {
    leave(0, 10, living());
    writeFileSync(join(folder, 'leases.processes'), '1');
    const journal = await open(1, { waitMs: 100 });
    expect((await lease(journal, 7)).total.tokens).toBe(7);
    expect(logs.some(({ level, msg }) => level === 50 && msg.includes('anew'))).toBe(true);
    await closeAll();
    await end();
    for (let time = 0; time < 2; time += 1) {
      expect(await totals(await openAll(1))).toEqual([17]);
      await closeAll();
    }
  });
});

describe('a lease whose journal another process still has', () => {
  beforeEach(() => {
    leave(0, 10, living());
    writeFileSync(join(folder, 'leases.processes'), '1');
  });

  test('has no answer after a while, and the next one has as soon as the journal is there', async () => {
    const journal = await open(1, { leaseWaitMs: 50 });
    expect(await ask(journal, 5)).toBeNull();
    await end();
    await until(async () => (await ask(journal, 0)) !== null);
    expect(await totals([journal])).toEqual([10]);
  });

  test('holds up no end: it has no answer then, and the journal is left as it is', async () => {
    const journal = await open(1);
    const waiting = ask(journal, 5);
    const beginMs = performance.now();
    journal.stopWaiting();
    expect(await waiting).toBeNull();
    expect(await ask(journal, 5)).toBeNull();
    await closeAll();
    expect(performance.now() - beginMs).toBeLessThan(2_000);
    expect(readdirSync(folder).sort()).toEqual(['leases-0.journal', 'leases-0.lock', 'leases.processes']);
    expect(logs.filter(({ level }) => level > 40)).toEqual([]);
  });

  test('is not made up for by a part of the limit, and no end waits for it', async () => {
    const budgets = new Budgets({
      ...{ source: await open(1, { leaseWaitMs: 50 }), isShared: false, gatewayId: 'g', processes: 1 },
      ...{ gateways: () => 1, now: Date.now, nowMs: () => performance.now(), onChange: () => undefined },
    });
    const told = new Promise<BudgetAccount>((resolve) => {
      budgets.whenLeased(resolve);
    });
    budgets.use(BudgetsPolicy.parse([{ id: 'all', period: 'total', limitTokens: 1_000 }]), 1);
    const [account] = budgets.accountsOf({ caller: anonymous, namespace: 'default', model: 'm' });
    expect(await told).toBe(account);
    expect([account!.share.leftTokens, budgets.isDry(account!), account!.isUnheard]).toEqual([0, true, true]);
    const beginMs = performance.now();
    await budgets.close();
    expect(performance.now() - beginMs).toBeLessThan(1_000);
  });

  test('comes from another journal, though a third process is at the folder for a moment then', async () => {
    const journal = await open(1, { waitMs: 0 });
    expect((await lease(journal, 7)).total.tokens).toBe(7);
    await closeAll();
    writeFileSync(join(folder, 'leases.lock'), living());
    const next = await open(1, { waitMs: 0 });
    await sleep(300);
    rmSync(join(folder, 'leases.lock'));
    await lease(next, 5);
    expect(next.failures).toBe(0);
    expect(readdirSync(folder)).toContain('leases-1.lock');
  });
});

test('a journal that no process will ever have goes to the next that comes, though others are there', async () => {
  const [first] = await openAll(2);
  await lease(first!, 4);
  await journals.pop()!.close();
  leave(1, 20, dead);
  leave(5, 3, dead);
  leave(6, 100, living());
  expect(await totals([await open(2)])).toEqual([23]);
  expect(await totals([first!])).toEqual([4]);
  expect(
    readdirSync(folder)
      .filter((name) => name.endsWith('.journal'))
      .sort(),
  ).toEqual(['leases-0.journal', 'leases-1.journal', 'leases-6.journal']);
});
