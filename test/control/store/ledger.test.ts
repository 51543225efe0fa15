import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Ledger } from '../../../control/store/ledger.ts';
import { ledgerIn } from '../../../control/store/ledger.ts';
import { migrate } from '../../../control/store/migrate.ts';
import { migrations } from '../../../control/store/migrations.ts';
import { openPglite } from '../../../control/store/pglite.ts';
import type { UsageRecord, UsageReport, WindowSpending } from '../../../domain/usage/usage-record.schema.ts';
import { openTemporaryStore } from '../../fixtures/control/api-harness.ts';

const noon = Date.parse('2026-11-24T12:00:00Z');
const hour = 3_600_000;

let opened: Awaited<ReturnType<typeof openTemporaryStore>>;
let ledger: Ledger;
let gateways = 0;
let gateway = '';
let window = '';
beforeAll(async () => {
  opened = await openTemporaryStore();
  ({ ledger } = opened.store);
});
afterAll(async () => {
  await opened.close();
});
beforeEach(async () => {
  await ledger.prune(Number.MAX_SAFE_INTEGER);
  gateway = `gateway-${(gateways += 1)}`;
  window = `team-${gateways}|2026-11-24`;
});

const record = (seq: number, more: Partial<UsageRecord> = {}): UsageRecord => ({
  seq,
  requestId: `r${seq}`,
  at: noon + seq,
  key: 'k1',
  tenant: gateway,
  namespace: 'default',
  service: 'chat',
  model: 'chat',
  inputTokens: 10,
  cachedInputTokens: 4,
  outputTokens: 5,
  costMicros: 7,
  currency: 'USD',
  estimated: false,
  budgets: [window],
  ...more,
});
const report = (records: UsageRecord[], shares: UsageReport['shares'] = []): UsageReport => ({
  gateway,
  records,
  shares,
});
const share = (more: Partial<UsageReport['shares'][number]> = {}): UsageReport['shares'][number] => ({
  window,
  budget: 'team-a',
  endMs: noon + 12 * hour,
  limitTokens: 1_000,
  limitMicros: null,
  grantedTokens: 100,
  grantedMicros: 0,
  spentTokens: 30,
  spentMicros: 0,
  ...more,
});
const sumsOf = async (tenant: string) =>
  (await ledger.sums('tenant', noon - hour, noon + hour)).find(({ group }) => group === tenant);

describe('the ledger', () => {
  test('counts a record once, however often and in whatever company it comes', async () => {
    expect(await ledger.add(report([record(1), record(2)]), noon)).toBe(2);
    expect(await ledger.add(report([record(2), record(3), record(3)]), noon)).toBe(1);
    expect(await ledger.add(report([record(1), record(2), record(3)]), noon)).toBe(0);
    expect(await sumsOf(gateway)).toEqual({
      group: gateway,
      currency: 'USD',
      requests: 3,
      estimated: 0,
      inputTokens: 30,
      cachedInputTokens: 12,
      outputTokens: 15,
      costMicros: 21,
    });
  });

  test('counts once what comes twice at the same time', async () => {
    const records = Array.from({ length: 50 }, (_, seq) => record(seq));
    const added = await Promise.all([1, 2, 3, 4].map(() => ledger.add(report(records), noon)));
    expect(added.reduce((sum, one) => sum + one)).toBe(50);
    expect((await sumsOf(gateway))?.requests).toBe(50);
  });

  test('keeps gateways apart: the same number of another is another record', async () => {
    await ledger.add(report([record(1)]), noon);
    expect(await ledger.add({ ...report([record(1)]), gateway: `${gateway}-b` }, noon)).toBe(1);
  });

  test.each([
    ['key', 'k1', 2],
    ['model', 'chat', 2],
    ['service', 'default/chat', 2],
    ['day', '2026-11-24', 2],
  ] as const)('sums by %s', async (by, group, requests) => {
    const since = noon + gateways * 1000 * hour; // an hour of this test's own
    const day = new Date(since).toISOString().slice(0, 10);
    await ledger.add(report([record(1, { at: since }), record(2, { at: since + 1, estimated: true })]), noon);
    const sums = await ledger.sums(by, since, since + hour);
    expect(sums).toEqual([
      expect.objectContaining({ group: by === 'day' ? day : group, requests, estimated: 1, costMicros: 14 }),
    ]);
  });

  test('takes any text that a client can send', async () => {
    const model = `a'b"c\\u0000\0\u2028😀`;
    expect(await ledger.add(report([record(1, { model, requestId: '\0', budgets: ['\0|x'] })]), noon)).toBe(
      1,
    );
    const [sum] = (await ledger.sums('model', noon, noon + hour)).filter(({ group }) =>
      group.startsWith("a'b"),
    );
    expect(sum?.group).toBe(model.replace('\0', '\ufffd'));
  });

  test('tells of a budget what is spent by its own account, and what gateways hold beyond that', async () => {
    await ledger.add(report([record(1), record(2)], [share()]), noon);
    const other = { ...report([record(1)], [share({ grantedTokens: 50 })]), gateway: `${gateway}-b` };
    await ledger.add(other, noon);
    const expected = {
      budget: 'team-a',
      account: `team-${gateways}`,
      window: '2026-11-24',
      endsAt: '2026-11-25T00:00:00.000Z',
      limitTokens: 1_000,
      limitCostMicros: null,
      spentTokens: 45,
      spentCostMicros: 21,
      leasedTokens: 105,
      leasedCostMicros: 0,
      leftTokens: 850,
      leftCostMicros: null,
    };
    const ours = async (at: number) =>
      (await ledger.budgets(at)).filter(({ account }) => account === expected.account);
    expect(await ours(noon)).toEqual([expected]);
    const silent = { ...expected, leasedTokens: 0, leftTokens: 955 };
    expect(await ours(noon + 121_000)).toEqual([silent]);
    expect(await ours(noon + 12 * hour)).toEqual([]);
  });

  test('tells of a budget the limits that its gateways told last, not those of processes before', async () => {
    const told = (name: string, limitTokens: number | null, limitMicros: number | null, at: number) =>
      ledger.add({ ...report([], [share({ limitTokens, limitMicros })]), gateway: `${gateway}-${name}` }, at);
    const limits = async () => {
      const states = await ledger.budgets(noon);
      const found = states.find(({ account }) => account === `team-${gateways}`);
      return [found?.limitTokens, found?.limitCostMicros];
    };
    await told('b', 1_000, 70, noon);
    await told('c', 100, 80, noon + 2);
    await told('a', 500, null, noon + 1);
    expect(await limits()).toEqual([100, 80]);
    await told('a', null, 60, noon + 3);
    expect(await limits()).toEqual([null, 60]);
  });

  test('gives the settling each window with what each gateway spent, page by page', async () => {
    const windows = ['a|total', 'b|2026-11', 'c|2026-11'];
    const since = noon + 24 * hour;
    const shares = windows.map((name) =>
      share({ window: name, endMs: name === 'a|total' ? null : since + 1 }),
    );
    await ledger.add(report([record(1, { budgets: ['a|total', 'c|2026-11'] })], shares), noon);
    const first = await ledger.spending(since, '', 2);
    expect(first).toEqual([
      { window: 'a|total', endMs: null, spent: [{ gateway, tokens: 15, micros: 7 }] },
      { window: 'b|2026-11', endMs: since + 1, spent: [] },
    ]);
    expect((await ledger.spending(since, 'b|2026-11', 1)).map((one) => one.window)).toEqual(['c|2026-11']);
    expect((await ledger.spending(since + 1, '', 1)).map((one) => one.window)).toEqual(['a|total']);
  });

  test('gives each window once, in order and in full pages, whatever else was told or spent', async () => {
    let state = 7;
    const below = (n: number) => (state = (state * 48_271) % 2_147_483_647) % n;
    const ends = new Map<string, Map<string, number | null>>();
    const spent = new Map<string, Set<string>>();
    for (let at = 0; at < 90; at += 1) {
      [window, gateway] = [`p${gateways}-${100 + below(200)}|x`, `random-${at % 4}`];
      const endMs = below(4) === 0 ? null : noon + below(5);
      const [isTold, isSpent] = [below(3) > 0, below(3) > 0];
      await ledger.add(report(isSpent ? [record(at)] : [], isTold ? [share({ endMs })] : []), noon);
      if (isTold) ends.set(window, new Map(ends.get(window)).set(gateway, endMs));
      if (isSpent) spent.set(window, new Set(spent.get(window)).add(gateway));
    }
    const all = [...new Set([...ends.keys(), ...spent.keys()])].sort();
    for (const [since, limit] of [-1, 0, 1, 2, 3, 4].map((ms) => [noon + ms, ms < 4 ? 7 : 1] as const)) {
      const found: WindowSpending[] = [];
      for (let page = await ledger.spending(since, '', limit); ;) {
        found.push(...page);
        if (page.length < limit) break;
        page = await ledger.spending(since, page.at(-1)?.window ?? '', limit);
      }
      const expected = all.flatMap((name) => {
        const told = [...(ends.get(name)?.values() ?? [null])];
        if (!told.some((end) => end === null || end > since)) return [];
        const known = told.filter((end) => end !== null);
        return [[name, known.length === 0 ? null : Math.max(...known), [...(spent.get(name) ?? [])].sort()]];
      });
      const ours = found.filter((one) => all.includes(one.window));
      expect(ours.map((one) => [one.window, one.endMs, one.spent.map((each) => each.gateway)])).toEqual(
        expected,
      );
    }
  });

  test('reads for a page of windows what lies in it, and not all that it keeps', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'muster-ledger-'));
    const database = await openPglite(join(folder, 'store'));
    try {
      await migrate(database, migrations);
      const names = Array.from({ length: 3_000 }, (_, at) => `w${10_000 + at}|x`);
      const shares = names.map((name) => share({ window: name }));
      const records = names.map((name, seq) => record(seq, { budgets: [name] }));
      await ledgerIn(database).add(report(records, shares), noon);
      const rowsRead = `SELECT sum(seq_tup_read + idx_tup_fetch) AS rows FROM pg_stat_xact_user_tables`;
      const read = await database.transaction(async (queries) => {
        const [before] = await queries.query(rowsRead);
        const page = await ledgerIn({ ...database, ...queries }).spending(0, 'w11000|x', 20);
        expect(page.map((one) => one.window)).toEqual(names.slice(1_001, 1_021));
        const [after] = await queries.query(rowsRead);
        return Number(after?.['rows']) - Number(before?.['rows']);
      });
      expect(read).toBeLessThan(500);
    } finally {
      await database.close();
      await rm(folder, { recursive: true, force: true });
    }
  });

  test('settles windows, too, of which it has nothing but what was spent', async () => {
    await ledger.add(report([record(1)]), noon);
    const [found] = (await ledger.spending(noon + 99 * hour, '', 99)).filter((one) => one.window === window);
    expect(found).toEqual({ window, endMs: null, spent: [{ gateway, tokens: 15, micros: 7 }] });
  });

  test('forgets single records in time and keeps their sums', async () => {
    await ledger.add(report([record(1), record(2)], [share({ endMs: noon })]), noon);
    expect(await ledger.prune(noon + 2)).toBe(1);
    expect((await sumsOf(gateway))?.requests).toBe(2);
    expect((await ledger.spending(0, '', 99)).map((one) => one.window)).not.toContain(window);
  });

  test('forgets shares of budgets without end that nobody has told for long, and not what was spent of them', async () => {
    window = `endless-${gateways}|total`;
    await ledger.add(report([record(1)], [share({ window, endMs: null })]), noon);
    const names = async () => (await ledger.budgets(noon)).map(({ account }) => account);
    await ledger.prune(noon);
    expect(await names()).toContain(`endless-${gateways}`);
    await ledger.prune(noon + 1);
    expect(await names()).not.toContain(`endless-${gateways}`);
    const [one] = (await ledger.spending(0, '', 99)).filter((each) => each.window === window);
    expect(one?.spent).toEqual([{ gateway, tokens: 15, micros: 7 }]);
  });

  test('adds up what gateways that are long gone spent of a budget without end, so that no row is kept for each', async () => {
    window = `folded-${gateways}|total`;
    const endless = share({ window, endMs: null });
    const spent = async () =>
      (await ledger.spending(0, '', 999)).find((each) => each.window === window)?.spent;
    const first = gateway;
    for (const name of ['a', 'b', 'c']) {
      gateway = `${first}-${name}`;
      await ledger.add(report([record(1)], [endless]), noon + (name === 'c' ? 10 : 0));
    }
    await ledger.add(report([record(2, { at: noon + 50 })]), noon + 50);
    await ledger.prune(noon + 5);
    expect(await spent()).toEqual([
      { gateway: '(gone)', tokens: 30, micros: 14 },
      { gateway: `${first}-c`, tokens: 30, micros: 14 },
    ]);
    gateway = `${first}-a`; // it said something only now
    await ledger.add(report([record(2, { at: noon + 60 })]), noon + 60);
    await ledger.prune(noon + 5);
    expect(await spent()).toContainEqual({ gateway, tokens: 15, micros: 7 });
    await ledger.prune(noon + 100);
    expect(await spent()).toEqual([{ gateway: '(gone)', tokens: 75, micros: 35 }]);
  });
});
