import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { Registry } from 'prom-client';
import { anonymous } from '../../../domain/access/caller.ts';
import { GatewayPolicy } from '../../../domain/gateway-policy/gateway-policy.schema.ts';
import { Accounting } from '../../../gateway/usage/accounting.ts';

const hourMs = 3_600_000;
const minuteMs = 60_000;

let now: number;
let accounting: Accounting;
beforeEach(() => {
  now = Date.parse('2026-11-24T12:00:00Z');
  const deps = { redis: null, registry: new Registry(), isAlive: () => true };
  accounting = new Accounting({ ...deps, now: () => now, nowMs: () => now });
  const budgets = [{ id: 'all', period: 'hour', limitTokens: 1_000 }];
  accounting.use(GatewayPolicy.parse({ budgets }));
});
afterEach(() => accounting.close());

const accountOf = () =>
  accounting.budgets.accountsOf({ caller: anonymous, namespace: 'default', model: 'm' })[0]!;
const tick = async (afterMs: number): Promise<string[]> => {
  now += afterMs;
  accounting.budgets.tick();
  await new Promise((resolve) => setImmediate(resolve));
  return accounting.shares().map(({ window }) => window);
};
const key = 'all|2026-11-24T12';

test('a share of a window that is over is told for a moment, and then no more', async () => {
  accountOf();
  expect(await tick(0)).toEqual([key]);
  expect(await tick(hourMs)).toEqual([key]);
  expect(await tick(minuteMs / 2)).toEqual([key]);
  expect(await tick(minuteMs)).toEqual([]);
});

test('a share of a window that is over is told as long as requests hold some of it', async () => {
  const { share } = accountOf();
  await tick(0);
  share.reserve(5, 0);
  await tick(hourMs);
  expect(await tick(2 * minuteMs)).toEqual([key]);
  share.settle(5, 0, 5, 0);
  await tick(1_000);
  expect(await tick(1_000)).toEqual([]);
});
