import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { RecentTimes } from '../../../domain/resilience/recent-times.ts';
import { RetryBudget } from '../../../domain/resilience/retry-budget.ts';

describe('RetryBudget', () => {
  test('lets a share of requests be repeated, and no more', () => {
    const budget = new RetryBudget({ perRequest: 0.2, perSecond: 0 }, 0);
    let repeated = 0;
    for (let i = 0; i < 1000; i += 1) {
      budget.earn();
      if (budget.spend(0)) repeated += 1;
    }
    expect(repeated).toBeGreaterThan(190);
    expect(repeated).toBeLessThanOrEqual(200);
    expect(budget.refused).toBe(1000 - repeated);
  });

  test('lets a few a second be repeated where there are few requests', () => {
    const budget = new RetryBudget({ perRequest: 0, perSecond: 10 }, 0);
    const spendAll = (now: number) => {
      let count = 0;
      while (count < 10_000 && budget.spend(now)) count += 1;
      return count;
    };
    expect(spendAll(0)).toBe(100);
    expect(spendAll(1000)).toBe(10);
    expect(spendAll(3_600_000)).toBe(100);
  });

  test('gives again what was taken and not needed', () => {
    const budget = new RetryBudget({ perRequest: 1, perSecond: 0 }, 0);
    budget.earn();
    expect([budget.spend(0), budget.spend(0)]).toEqual([true, false]);
    budget.refund();
    expect([budget.spend(0), budget.spend(0)]).toEqual([true, false]);
  });

  test('never gives more than it earned, however time runs', () => {
    const step = fc.record({
      earn: fc.nat(20),
      spend: fc.nat(20),
      passMs: fc.integer({ min: -50, max: 5000 }),
    });
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const budget = new RetryBudget({ perRequest: 0.1, perSecond: 2 }, 0);
        let [now, latest, earned, spent] = [0, 0, 20, 0];
        for (const { earn, spend, passMs } of steps) {
          now += passMs;
          earned += earn * 0.1 + Math.max(0, passMs) / 500;
          latest = Math.max(latest, now);
          for (let i = 0; i < earn; i += 1) budget.earn();
          for (let i = 0; i < spend; i += 1) if (budget.spend(now)) spent += 1;
          expect(spent).toBeLessThanOrEqual(earned + 1e-6);
        }
      }),
    );
  });
});

describe('RecentTimes', () => {
  test('knows no percentile before enough, then the one of the last ones', () => {
    const times = new RecentTimes();
    for (let i = 0; i < 19; i += 1) times.add(10);
    expect(times.percentile95()).toBe(Infinity);
    times.add(10);
    expect(times.percentile95()).toBe(10);
    for (let i = 1; i <= 200; i += 1) times.add(i);
    expect(times.percentile95()).toBeGreaterThan(180);
    expect(times.percentile95()).toBeLessThanOrEqual(200);
  });
});
