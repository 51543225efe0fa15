import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { retryAfterMs, retryDelayMs } from '../../../domain/routing/retry.ts';

describe('retryDelayMs', () => {
  const limits = { triesMax: 3, retryWindowMs: 2000, retryAfterMsMax: 500, isTryTimed: false };
  const failed = {
    kind: 'refused',
    wasSent: false,
    tries: 1,
    brokenTries: 0,
    elapsedMs: 0,
    isRepeatable: true,
    hasOther: false,
    retryAfterMs: null,
  } as const;
  test.each([
    { name: 'a refused connection is tried again', failed, again: true },
    { name: 'the third try is the last', failed: { ...failed, tries: 3 }, again: false },
    { name: 'nothing begins after the window', failed: { ...failed, elapsedMs: 2000 }, again: false },
    {
      name: 'a reset of what was sent is tried once more',
      failed: { ...failed, kind: 'reset', wasSent: true, brokenTries: 1 },
      again: true,
    },
    {
      name: 'but not twice',
      failed: { ...failed, kind: 'reset', wasSent: true, brokenTries: 2, tries: 2 },
      again: false,
    },
    {
      name: 'and not when it is no pure function',
      failed: { ...failed, kind: 'reset', wasSent: true, brokenTries: 1, isRepeatable: false },
      again: false,
    },
    {
      name: 'a timeout is final',
      failed: { ...failed, kind: 'timeout', wasSent: true, brokenTries: 1 },
      again: false,
    },
    {
      name: 'garbage is final',
      failed: { ...failed, kind: 'garbage', wasSent: true, brokenTries: 1 },
      again: false,
    },
    {
      name: 'garbage is tried at another server',
      failed: { ...failed, kind: 'garbage', wasSent: true, brokenTries: 1, hasOther: true },
      again: true,
    },
    {
      name: 'a timed try is made again',
      failed: { ...failed, kind: 'timeout', wasSent: true, elapsedMs: 60_000 },
      limits: { ...limits, isTryTimed: true },
      again: true,
    },
    {
      name: 'not now is tried at another server',
      failed: { ...failed, kind: 'status', wasSent: true, hasOther: true, retryAfterMs: 3_600_000 },
      again: true,
    },
    {
      name: 'not now of the only server is final',
      failed: { ...failed, kind: 'status', wasSent: true },
      again: false,
    },
    {
      name: 'but for a short Retry-After',
      failed: { ...failed, kind: 'status', wasSent: true, retryAfterMs: 500 },
      again: true,
    },
    {
      name: 'a longer one is not waited for',
      failed: { ...failed, kind: 'status', wasSent: true, retryAfterMs: 501 },
      again: false,
    },
    {
      name: 'not now to what is no pure function is final',
      failed: { ...failed, kind: 'status', wasSent: true, hasOther: true, isRepeatable: false },
      again: false,
    },
  ] as const)('$name', (row) => {
    const { failed: given, again } = row;
    const delay = retryDelayMs(given, 'limits' in row ? row.limits : limits, () => 0.5);
    expect(delay !== null).toBe(again);
  });
});

test('at once to another server at first, then later and later, and never beyond the window', () => {
  const limits = { triesMax: 10, retryWindowMs: 2000, retryAfterMsMax: 0, isTryTimed: false };
  const refused = {
    kind: 'refused',
    wasSent: false,
    brokenTries: 0,
    isRepeatable: true,
    retryAfterMs: null,
  } as const;
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 12 }),
      fc.nat(3000),
      fc.boolean(),
      fc.float({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (tries, elapsedMs, hasOther, chance) => {
        const delay = retryDelayMs({ ...refused, tries, elapsedMs, hasOther }, limits, () => chance);
        if (tries >= 10) expect(delay).toBeNull();
        if (delay === null) return;
        expect(delay + elapsedMs).toBeLessThanOrEqual(2000);
        expect(delay === 0).toBe(tries === 1 && hasOther);
      },
    ),
  );
});

test.each([
  ['0', 0],
  [' 7 ', 7000],
  ['Tue, 24 Nov 2026 12:00:10 GMT', 10_000],
  ['Tue, 24 Nov 2026 11:00:00 GMT', 0],
  ['soon', null],
  ['-1', null],
  ['', null],
  [undefined, null],
  [['1', '2'], null],
])('Retry-After %j is %j ms', (value, wanted) => {
  const read = retryAfterMs(value, Date.parse('2026-11-24T12:00:00Z'));
  if (value === '-1') expect(read === null || read === 0).toBe(true);
  else expect(read).toBe(wanted);
});
