import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { anonymous } from '../../../domain/access/caller.ts';
import type { Caller } from '../../../domain/access/caller.ts';
import { BudgetsPolicy } from '../../../domain/budget/budget-policy.schema.ts';
import type { LeaseCall } from '../../../domain/budget/lease-book.ts';
import { Budgets } from '../../../gateway/budget/budgets.ts';
import type { BudgetAccount } from '../../../gateway/budget/budget-account.ts';
import type { Passage } from '../../../gateway/passage.ts';
import { MemoryLeases } from '../../../gateway/budget/journal.ts';

const noon = Date.parse('2026-11-24T12:00:00Z');
const hour = 3_600_000;

let now: number;
/** By how much the wall clock is wrong. */
let wrongMs: number;
let budgets: Budgets;
let calls: { window: string; call: LeaseCall }[];
let changes: number;
/** The book does not answer. */
let isAway: boolean;

beforeEach(() => {
  [now, wrongMs, calls, changes, isAway] = [noon, 0, [], 0, false];
  const book = new MemoryLeases(() => now + wrongMs);
  budgets = new Budgets({
    source: {
      failures: 0,
      lease: (window, endMs, limits, call) => {
        calls.push({ window, call });
        return isAway ? Promise.resolve(null) : book.lease(window, endMs, limits, call);
      },
      close: () => Promise.resolve(),
    },
    isShared: true,
    gatewayId: 'g',
    processes: 1,
    gateways: () => 1,
    now: () => now + wrongMs,
    nowMs: () => now - noon,
    onChange: () => {
      changes += 1;
    },
  });
});

afterEach(() => budgets.close()); // its timer would count in the next test

const use = (...list: object[]) => {
  budgets.use(BudgetsPolicy.parse(list), 1);
};
const caller = (id: string, tenant = ''): Caller => ({ ...anonymous, kind: 'key', id, tenant });
const accountsOf = (who: Caller = anonymous, model = 'chat') =>
  budgets.accountsOf({ caller: who, namespace: 'default', model });
const settled = () => new Promise((resolve) => setImmediate(resolve));
const only = (accounts: readonly BudgetAccount[]): BudgetAccount => {
  expect(accounts).toHaveLength(1);
  return accounts[0]!;
};

describe('the accounts of a gateway', () => {
  test('are those that match all that a budget names, one for each where it says so', () => {
    use(
      { id: 'all', period: 'day', limitTokens: 100 },
      { id: 'acme', period: 'day', limitTokens: 100, match: { tenant: 'acme' } },
      { id: 'each', period: 'day', limitTokens: 100, per: 'key' },
      { id: 'models', period: 'day', limitTokens: 100, per: 'model', match: { namespace: 'default' } },
    );
    expect(accountsOf(caller('k1', 'acme')).map(({ name }) => name)).toEqual([
      'all',
      'acme',
      'each/k1',
      'models/chat',
    ]);
    expect(accountsOf(caller('k2')).map(({ name }) => name)).toEqual(['all', 'each/k2', 'models/chat']);
    expect(only(accountsOf(caller('k1')).filter(({ name }) => name === 'each/k1'))).toBe(
      only(accountsOf(caller('k1'), 'other').filter(({ name }) => name === 'each/k1')),
    );
  });

  test('begin anew with each window, while requests in flight stay with theirs', async () => {
    use({ id: 'all', period: 'hour', limitTokens: 100, sliceTokens: 100 });
    const old = only(accountsOf());
    await settled();
    old.share.reserve(60, 0);
    const changed = changes;
    now = noon + hour;
    budgets.tick();
    expect(changes).toBe(changed + 1);
    const next = only(accountsOf());
    await settled();
    expect([old.key, next.key]).toEqual(['all|2026-11-24T12', 'all|2026-11-24T13']);
    expect(next.share.covers(100, 0)).toBe(true);
    expect([...budgets.closing.values()]).toEqual([old]);
    old.share.settle(60, 0, 70, 0);
    budgets.tick();
    await settled();
    const told = calls.length;
    now += 10 * 60_000 + 1;
    budgets.tick();
    await settled();
    expect(budgets.closing.size).toBe(0);
    expect(calls.slice(told).filter(({ window }) => window === old.key)).toEqual([]); // it was told once
    const last = calls.filter(({ window }) => window === old.key).at(-1);
    expect(last?.call).toMatchObject({ want: { tokens: -30 }, spent: { tokens: 70 } });
  });

  test('tell what was spent, and give back what lies idle', async () => {
    use({ id: 'all', period: 'day', limitTokens: 1_000, sliceTokens: 100 });
    const account = only(accountsOf());
    await settled();
    account.share.reserve(10, 0);
    account.share.settle(10, 0, 10, 0);
    now += 6_000;
    budgets.tick();
    await settled();
    expect(calls.at(-1)?.call).toMatchObject({ want: { tokens: 0 }, spent: { tokens: 10 } });
    for (let time = 0; time < 3; time += 1) {
      now += 21_000;
      budgets.tick();
      await settled();
    }
    expect(calls.at(-1)?.call).toMatchObject({ want: { tokens: -90 } });
    expect(account.share.granted.tokens).toBe(10);
    const silent = calls.length;
    now += 60_000;
    budgets.tick();
    await settled();
    expect(calls.length).toBe(silent); // it holds nothing, and has nothing to say
  });

  test('give back what was granted for a request that it does not cover after all', async () => {
    use({ id: 'all', period: 'day', limitTokens: 1_000, sliceTokens: 100 });
    const account = only(accountsOf());
    await settled();
    account.waiting.push({ estimatedTokens: 5_000, estimatedMicros: 0 } as unknown as Passage);
    budgets.whenLeased(({ waiting }) => {
      waiting.length = 0; // refused
    });
    budgets.fill(account);
    await settled();
    expect(calls.map(({ call }) => call.want.tokens)).toEqual([100, 5_000, -900]);
    expect(account.share.leftTokens).toBe(100); // the others go on
  });

  test('tell what answers used beyond what was set aside, for as long as the book does not know it', async () => {
    use({ id: 'all', period: 'day', limitTokens: 1_000, sliceTokens: 100 });
    const account = only(accountsOf());
    await settled();
    account.share.reserve(10, 0);
    account.share.settle(10, 0, 1_200, 0);
    isAway = true;
    now += 6_000;
    budgets.tick();
    await settled();
    expect(calls.at(-1)?.call).toMatchObject({ want: { tokens: 1_100 }, spent: { tokens: 1_200 } });
    isAway = false;
    now += 6_000;
    budgets.tick();
    await settled();
    expect(account.share.knownTokens).toBe(1_000);
    expect(account.share.leftTokens).toBe(-200);
    now += 21_000;
    budgets.tick();
    await settled();
    expect(calls.at(-1)?.call).toMatchObject({ want: { tokens: 200 } });
    use();
    const before = calls.length;
    for (let time = 0; time < 20; time += 1) {
      now += 250;
      budgets.tick();
      await settled();
    }
    expect(calls.length - before).toBeLessThanOrEqual(1); // there is nothing to be had: not at each tick
    use({ id: 'all', period: 'day', limitTokens: 2_000, sliceTokens: 100 });
    expect(only(accountsOf())).toBe(account);
    await budgets.close();
    expect(account.share.knownTokens).toBe(1_200);
  });

  test('enter at the end what answers used beyond what was set aside, also behind a call that had no answer', async () => {
    use({ id: 'all', period: 'day', limitTokens: 1_000, sliceTokens: 100 });
    const account = only(accountsOf());
    await settled();
    isAway = true;
    now += 41_000;
    budgets.tick();
    await settled();
    account.share.reserve(10, 0);
    account.share.settle(10, 0, 500, 0);
    isAway = false;
    await budgets.close();
    expect(account.share.knownTokens).toBe(500);
  });

  test('ask anew behind a call that gave back of the one and owed of the other', async () => {
    const both = { limitTokens: 100, sliceTokens: 100, limitCostMicros: 1_000, sliceCostMicros: 100 };
    use({ id: 'all', period: 'day', ...both });
    const account = only(accountsOf());
    await settled();
    account.share.reserve(100, 0);
    account.share.settle(100, 0, 150, 0);
    use(); // its rest goes back
    isAway = true;
    budgets.tick();
    await settled();
    expect(calls.at(-1)?.call.want).toEqual({ tokens: 50, micros: -100 });
    isAway = false;
    use({ id: 'all', period: 'day', ...both });
    expect(only(accountsOf())).toBe(account);
    account.share.reserve(0, account.share.leftMicros);
    budgets.fill(account);
    await settled();
    expect(account.share.covers(0, 100)).toBe(true);
  });

  test('are asked for once at a time, and not again at once when nothing was to be had', async () => {
    use({ id: 'all', period: 'day', limitTokens: 10, sliceTokens: 10 });
    const account = only(accountsOf());
    budgets.fill(account);
    budgets.fill(account);
    await settled();
    expect(calls).toHaveLength(1);
    account.share.reserve(10, 0);
    budgets.fill(account);
    await settled();
    expect(calls).toHaveLength(2);
    budgets.fill(account);
    await settled();
    expect(calls).toHaveLength(2);
    now += 1_001;
    budgets.fill(account);
    await settled();
    expect(calls).toHaveLength(3);
  });

  test('go on without the book from what was heard last, and tell it when it is back', async () => {
    use({ id: 'all', period: 'day', limitTokens: 300, sliceTokens: 100 });
    const account = only(accountsOf());
    await settled();
    account.share.reserve(100, 0);
    isAway = true;
    budgets.fill(account);
    await settled();
    expect(account.share.leftTokens).toBe(100);
    expect(account.offlineGrants).toBe(1);
    account.share.reserve(100, 0);
    now += 1_001;
    budgets.fill(account);
    await settled();
    account.share.reserve(100, 0);
    now += 1_001;
    budgets.fill(account);
    await settled();
    expect(account.share.covers(1, 0)).toBe(false);
    isAway = false;
    now += 1_001;
    budgets.fill(account);
    await settled();
    expect(account.share.knownTokens).toBe(300);
    expect(account.share.covers(1, 0)).toBe(false);
  });

  test('go back when the gateway ends', async () => {
    use({ id: 'all', period: 'day', limitTokens: 1_000, sliceTokens: 100 });
    only(accountsOf());
    await settled();
    await budgets.close();
    expect(calls.at(-1)?.call.want.tokens).toBe(-100);
  });

  test('keep what they hold when a limit changes, and are closed when their budget is gone', async () => {
    use({ id: 'all', period: 'day', limitTokens: 100, sliceTokens: 100 });
    const account = only(accountsOf());
    await settled();
    account.share.reserve(40, 0);
    account.share.settle(40, 0, 40, 0);
    use({ id: 'all', period: 'day', limitCostMicros: 50, sliceCostMicros: 50 });
    expect(only(accountsOf())).toBe(account);
    expect(account.share.covers(1_000_000, 0)).toBe(true);
    expect(account.share.covers(0, 1)).toBe(false);
    use();
    expect([...budgets.closing.values()]).toEqual([account]);
    budgets.tick();
    await settled();
    // Its budget comes again, and the book must not hear of it as of a new one.
    use({ id: 'all', period: 'day', limitTokens: 200 });
    expect(only(accountsOf())).toBe(account);
    await settled();
    expect(account.share.spentTokens).toBe(40);
    expect(account.share.knownTokens).toBeGreaterThanOrEqual(40);
    now += 24 * hour;
    budgets.tick();
    await settled();
    now += 10 * 60_000 + 1;
    budgets.tick();
    await settled();
    expect(budgets.closing.size).toBe(0);
  });

  test.each(['hour', 'day', 'week', 'month'])(
    'of a clock that was ahead for a moment are put away, and those of now know what they spent: %s',
    async (period) => {
      use({ id: 'all', period, limitTokens: 100, sliceTokens: 100 });
      const account = only(accountsOf());
      await settled();
      account.share.reserve(30, 0);
      account.share.settle(30, 0, 30, 0);
      wrongMs = 500 * 24 * hour;
      budgets.tick();
      const ahead = only(accountsOf());
      expect(ahead.key).not.toBe(account.key);
      for (let time = 0; time < 3; time += 1) {
        now += 250;
        budgets.tick();
        await settled();
      }
      wrongMs = 0;
      const changed = changes;
      budgets.tick();
      expect(changes).toBe(changed + 1);
      expect(only(accountsOf())).toBe(account);
      await settled();
      expect(account.share.leftTokens).toBe(70);
      expect([...budgets.closing.values()]).toEqual([ahead]);
      wrongMs = 500 * 24 * hour; // their time comes
      budgets.tick();
      expect(only(accountsOf())).toBe(ahead);
    },
  );

  test('of a clock that was ahead are put away with the wrong hour alone, and one that is hardly ahead ends none', () => {
    use({ id: 'all', period: 'hour', limitTokens: 100 }, { id: 'total', period: 'total', limitTokens: 100 });
    wrongMs = -30_000;
    now += hour;
    accountsOf();
    wrongMs = 10_000;
    const [inTime, total] = [(budgets.tick(), accountsOf()[0]!), accountsOf()[1]!];
    expect(inTime.key).toBe('all|2026-11-24T13');
    wrongMs = -40_000;
    budgets.tick();
    expect(accountsOf()).toEqual([inTime, total]);
    wrongMs = -70_000;
    budgets.tick();
    expect(accountsOf().map(({ key }) => key)).toEqual(['all|2026-11-24T12', 'total|total']);
  });

  test('ask again, and tell what they spent, though the clock was set back by an hour', async () => {
    use({ id: 'all', period: 'day', limitTokens: 10, sliceTokens: 10 });
    const account = only(accountsOf());
    await settled();
    account.share.reserve(10, 0);
    budgets.fill(account);
    await settled();
    expect(budgets.isDry(account)).toBe(true);
    const asked = calls.length;
    wrongMs = -hour;
    now += 1_001;
    expect(budgets.isDry(account)).toBe(false);
    budgets.fill(account);
    await settled();
    expect(calls).toHaveLength(asked + 1);
    account.share.settle(10, 0, 3, 0);
    now += 6_000;
    budgets.tick();
    await settled();
    expect(calls.at(-1)?.call).toMatchObject({ spent: { tokens: 3 } });
  });

  test('are no more than a bound: further keys share one', () => {
    use({ id: 'each', period: 'day', limitTokens: 1, per: 'key' });
    for (let at = 0; at < 10_050; at += 1) accountsOf(caller(`k${at}`));
    expect(budgets.accounts.size).toBe(10_001);
    expect(only(accountsOf(caller('one-more'))).name).toBe('each/others');
    expect(only(accountsOf(caller('k1'))).name).toBe('each/k1');
  });
});
