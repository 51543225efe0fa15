import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  Health,
  allowProbes,
  breakerState,
  ejectIfAllowed,
  onBad,
  onFirstByte,
  onGood,
  onLeft,
  slowOnes,
} from '../../../domain/resilience/outlier.ts';
import type { Watched } from '../../../domain/resilience/outlier.ts';
import { defaultSettings } from '../../../domain/resilience/settings.ts';
import { isEligible } from '../../../domain/routing/pick.ts';

const rules = { ...defaultSettings.outlier, minimumRequests: 10 };
const endpoint = (): Watched => ({
  inFlight: 0,
  skipUntilMs: 0,
  inFlightMax: Infinity,
  health: new Health(),
});
const fail = (load: Watched, others: readonly Watched[], nowMs: number, times = 1) => {
  let isEjected = false;
  for (let i = 0; i < times; i += 1) isEjected = onBad(load, rules, others, { startedMs: nowMs, nowMs });
  return isEjected;
};

describe('an endpoint', () => {
  test('is ejected by so many failures in a row, not by one fewer', () => {
    const [a, b] = [endpoint(), endpoint()];
    expect(fail(a, [a, b], 1000, rules.consecutiveFailures - 1)).toBe(false);
    expect(isEligible(a, 1000)).toBe(true);
    expect(fail(a, [a, b], 1000)).toBe(true);
    expect(breakerState(a, 1000)).toBe('open');
    expect(isEligible(a, 1000 + rules.baseMs - 1)).toBe(false);
  });

  test('that answers in between is not', () => {
    const [a, b] = [endpoint(), endpoint()];
    for (let i = 0; i < 3; i += 1) {
      fail(a, [a, b], 1000, rules.consecutiveFailures - 1);
      for (let good = 0; good < 20; good += 1) onGood(a, rules, 1000, 1000);
    }
    expect(breakerState(a, 1000)).toBe('closed');
  });

  test('is ejected by its share of failures once enough is known, and what is old is forgotten', () => {
    const failHalf = (pauseMs: number) => {
      const [a, b] = [endpoint(), endpoint()];
      for (let i = 0; i < 10; i += 1) {
        const now = 1000 + i * pauseMs;
        onGood(a, rules, now, now);
        if (fail(a, [a, b], now)) return i;
      }
      return 'never';
    };
    expect(failHalf(1)).toBe(4);
    expect(failHalf(rules.windowMs)).toBe('never');
  });

  test('alone is never ejected, and of two only one', () => {
    const [a, b] = [endpoint(), endpoint()];
    expect(fail(a, [a], 1000, 100)).toBe(false);
    fail(a, [a, b], 1000, 100);
    fail(b, [a, b], 1000, 100);
    expect([breakerState(a, 1000), breakerState(b, 1000)]).toEqual(['open', 'closed']);
  });

  test('comes back by probes: a few at once, so many good ones, and then all of its share', () => {
    const [a, b] = [endpoint(), endpoint()];
    const two = { ...rules, probes: 2 };
    for (let i = 0; i < 5; i += 1) onBad(a, two, [a, b], { startedMs: 1000, nowMs: 1000 });
    const later = 1000 + rules.baseMs;
    expect(breakerState(a, later)).toBe('half-open');
    a.inFlight = 1;
    expect(isEligible(a, later)).toBe(true);
    a.inFlight = 2;
    expect(isEligible(a, later)).toBe(false);
    onGood(a, two, later, later);
    expect(breakerState(a, later)).toBe('half-open');
    onGood(a, two, later, later);
    expect(breakerState(a, later)).toBe('closed');
    expect(a.health.failures).toBe(0);
  });

  test('that fails its probe rests twice as long, up to the longest, and long health makes that good', () => {
    const [a, b] = [endpoint(), endpoint()];
    fail(a, [a, b], 0, 5);
    const rests: number[] = [];
    for (let i = 0; i < 6; i += 1) {
      const now = a.skipUntilMs;
      fail(a, [a, b], now);
      rests.push(a.skipUntilMs - now);
    }
    expect(rests).toEqual([10_000, 20_000, 40_000, 60_000, 60_000, 60_000]);
    const now = a.skipUntilMs + 10 * rules.maxMs;
    onGood(a, rules, now, now);
    fail(a, [a, b], now, 5);
    expect(a.skipUntilMs - now).toBe(rules.baseMs);
  });

  test('is not judged by what began before its ejection, and such requests take no probe away', () => {
    const [a, b] = [endpoint(), endpoint()];
    a.inFlight = 3; // hanging since before
    fail(a, [a, b], 1000, 5);
    const later = 1000 + rules.baseMs;
    expect(isEligible(a, later)).toBe(true);
    onGood(a, rules, 999, later);
    expect(breakerState(a, later)).toBe('half-open');
    expect(onBad(a, rules, [a, b], { startedMs: 999, nowMs: later })).toBe(false);
    a.inFlight -= 1;
    onLeft(a, 999);
    expect(a.inFlightMax).toBe(3); // two that hang, and a probe
  });

  test('that answers although it is ejected, because all are, is trusted again', () => {
    const [a, b] = [endpoint(), endpoint()];
    fail(a, [a, b], 1000, 5);
    onGood(a, rules, 1500, 1600);
    expect(a.inFlightMax).toBe(Infinity);
  });

  test('that a health check finds well is half open at once', () => {
    const [a, b] = [endpoint(), endpoint()];
    fail(a, [a, b], 1000, 5);
    allowProbes(a, 1500);
    expect(breakerState(a, 1500)).toBe('half-open');
  });

  test('however its days go, some of a service stay closed, and each is open only for a time', () => {
    const step = fc.record({ at: fc.nat(4), isGood: fc.boolean(), passMs: fc.nat(20_000) });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), fc.array(step, { maxLength: 200 }), (size, steps) => {
        const all = Array.from({ length: size }, endpoint);
        let now = 1000;
        for (const { at, isGood, passMs } of steps) {
          now += passMs;
          const load = all[at % size]!;
          if (isGood) onGood(load, rules, now, now);
          else onBad(load, rules, all, { startedMs: now, nowMs: now });
          const ejected = all.filter((each) => breakerState(each, now) !== 'closed').length;
          expect(ejected * 100).toBeLessThanOrEqual(rules.maxEjectedPercent * size);
          for (const each of all) expect(each.skipUntilMs).toBeLessThanOrEqual(now + rules.maxMs);
        }
      }),
    );
  });
});

describe('slowOnes', () => {
  const paced = (ms: number) => {
    const load = endpoint();
    for (let i = 0; i < 20; i += 1) onFirstByte(load.health, ms);
    return load;
  };
  test('are those far beyond the median of three or more that are known', () => {
    const slow = paced(500);
    expect(slowOnes([paced(50), paced(60), slow], 3, 10)).toEqual([slow]);
    expect(slowOnes([paced(50), slow], 3, 10)).toEqual([]);
    expect(slowOnes([paced(50), paced(60), endpoint(), slow], 0, 10)).toEqual([]);
    expect(slowOnes([paced(50), endpoint(), slow], 3, 10)).toEqual([]);
  });
  test('are ejected within the same bound', () => {
    const all = [paced(50), paced(500), paced(500)];
    const ejected = slowOnes(all, 3, 10).filter((each) => ejectIfAllowed(each, rules, all, 1000));
    expect(ejected.length).toBeLessThanOrEqual(1);
  });
});
