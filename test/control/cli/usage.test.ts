import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { budgetTable, formatMicros } from '../../../control/cli/commands/usage.ts';
import type { UsageRecord } from '../../../domain/usage/usage-record.schema.ts';
import { useInstallation } from '../../fixtures/cli/installation.ts';

const installation = useInstallation({ now: () => Date.now() });
const { muster } = installation;

const record = (seq: number, more: Partial<UsageRecord> = {}): UsageRecord => ({
  ...{ seq, requestId: `r${seq}`, at: Date.now(), key: 'k1', tenant: 'acme', namespace: 'default' },
  ...{ service: 'chat', model: 'chat', inputTokens: 100, cachedInputTokens: 40, outputTokens: 50 },
  ...{ costMicros: 1_234_500, currency: 'USD', estimated: false, budgets: [] },
  ...more,
});
const share = {
  ...{ window: 'team|2999-01', budget: 'team', endMs: Date.parse('2999-02-01'), limitTokens: 1_000 },
  ...{
    limitMicros: 9_000_000,
    grantedTokens: 200,
    grantedMicros: 3_000_000,
    spentTokens: 150,
    spentMicros: 1,
  },
};

describe('muster usage and muster budget', () => {
  test('say that there is nothing before there is something', async () => {
    expect((await muster('usage')).stderr).toContain('Nothing was used in the last 30d.');
    expect((await muster('budget', 'list')).stderr).toContain('No budget was drawn on yet.');
  });

  test('show what was used, by whom, and what it cost', async () => {
    const records = [record(1), record(2, { tenant: '', estimated: true, budgets: ['team|2999-01'] })];
    const report = { gateway: 'g', records, shares: [share] };
    expect(await installation.api.internal('POST', '/internal/usage', report)).toMatchObject({
      body: { added: 2 },
    });
    expect(await installation.api.internal('POST', '/internal/usage', report)).toMatchObject({
      body: { added: 0 },
    });
    const { stdout } = await muster('usage');
    expect(stdout).toMatch(/TENANT\s+REQUESTS\s+INPUT\s+CACHED\s+OUTPUT\s+COST\s+ESTIMATED/);
    expect(stdout).toMatch(/acme\s+1\s+100\s+40\s+50\s+1\.2345 USD\s+0/);
    expect(stdout).toMatch(/\(none\)\s+1\s+100\s+40\s+50\s+1\.2345 USD\s+1/);
    expect((await muster('usage', '--by', 'service')).stdout).toMatch(/default\/chat\s+2\s+200/);
    const read = parse((await muster('usage', '--by', 'model', '-o', 'yaml')).stdout) as { items: unknown[] };
    expect(read.items).toEqual([
      expect.objectContaining({ group: 'chat', requests: 2, estimated: 1, costMicros: 2_469_000 }),
    ]);
  });

  test('show budgets: what the ledger knows as spent, what gateways hold beyond it, what is left', async () => {
    const { stdout } = await muster('budget', 'list');
    expect(stdout).toMatch(/team\s+2999-01\s+tokens\s+1000\s+150\s+50\s+800\s+2999-02-01T00:00:00.000Z/);
    expect(stdout).toMatch(/team\s+2999-01\s+money\s+9\.00\s+1\.2345\s+1\.7655\s+6\.00/);
    expect(JSON.parse((await muster('budget', 'list', '-o', 'json')).stdout)).toMatchObject({
      items: [{ account: 'team', spentTokens: 150, leasedTokens: 50, leftCostMicros: 6_000_000 }],
    });
  });

  test.each([
    [['--by', 'colour'], /colour/],
    [['--since', 'yesterday'], /--since yesterday is not a duration/],
  ])('refuse %j', async (args, message) => {
    const { code, stderr } = await muster('usage', ...args);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(message);
  });

  test('refuse records that are none, and take nothing of such a report', async () => {
    const report = { gateway: 'bad', records: [record(1), { seq: -1 }], shares: [] };
    expect((await installation.api.internal('POST', '/internal/usage', report)).status).toBe(422);
    const good = { gateway: 'bad', records: [record(1)], shares: [] };
    expect(await installation.api.internal('POST', '/internal/usage', good)).toMatchObject({
      body: { added: 1 },
    });
  });

  test('are for people with the token; reporting is for processes', async () => {
    expect((await installation.api.call('POST', '/internal/usage', {})).status).toBe(401);
  });
});

test.each([
  [0, '0.00'],
  [1, '0.000001'],
  [10_000, '0.01'],
  [1_500_000, '1.50'],
  [9_007_199_254_740_991, '9007199254.740991'],
])('%d micro-units are %s', (micros, text) => {
  expect(formatMicros(micros)).toBe(text);
});

test('a budget of all time never ends', () => {
  const state = { budget: 'b', account: 'b', window: 'total', endsAt: null, limitCostMicros: null };
  const amounts = { limitTokens: 5, spentTokens: 1, leasedTokens: 1, leftTokens: 3 };
  const money = { spentCostMicros: 0, leasedCostMicros: 0, leftCostMicros: null };
  expect(budgetTable([{ ...state, ...amounts, ...money }])).toMatch(
    /b\s+total\s+tokens\s+5\s+1\s+1\s+3\s+never/,
  );
});
