import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { TokenBucket, formatReset } from '../../../domain/rate-limit/token-bucket.ts';

describe('a token bucket', () => {
  test('lets no more pass in any stretch of time than a bucket and its filling', () => {
    const step = fc.record({ ms: fc.nat({ max: 20_000 }), amount: fc.integer({ min: 1, max: 40 }) });
    fc.assert(
      fc.property(fc.array(step), fc.integer({ min: 40, max: 600 }), (steps, perMinute) => {
        const bucket = new TokenBucket(perMinute, 0);
        let [now, passed] = [0, 0];
        for (const { ms, amount } of steps) {
          now += ms;
          bucket.fill(now, 1);
          if (!bucket.has(amount)) continue;
          bucket.take(amount);
          passed += amount;
          expect(passed).toBeLessThanOrEqual(perMinute + (now * perMinute) / 60_000 + 1e-6);
        }
      }),
    );
  });

  test('has again what was asked for after the time that it names', () => {
    const bucket = new TokenBucket(60, 0);
    bucket.take(60);
    expect(bucket.has(1)).toBe(false);
    const wait = bucket.waitMs(1);
    bucket.fill(wait - 1, 1);
    expect(bucket.has(1)).toBe(false);
    bucket.fill(wait + 1, 1);
    expect(bucket.has(1)).toBe(true);
  });

  test('lets a request pass that is larger than all of it, when it is full', () => {
    const bucket = new TokenBucket(10, 0);
    expect(bucket.has(1_000)).toBe(true);
    bucket.take(1_000);
    bucket.fill(60_000, 1);
    expect(bucket.has(1)).toBe(false); // it is paid for by those who come later
  });

  test('holds a part of the limit where others hold the rest, and shrinks at once', () => {
    const bucket = new TokenBucket(100, 0);
    bucket.fill(0, 4);
    expect(bucket.remaining).toBe(25);
  });

  test('is not filled by a clock that goes back', () => {
    const bucket = new TokenBucket(100, 1_000);
    bucket.take(100);
    bucket.fill(0, 1);
    expect(bucket.remaining).toBe(0);
  });
});

describe('formatReset', () => {
  test.each([
    [0, '0ms'],
    [120.2, '121ms'],
    [1_500, '1.5s'],
    [60_000, '1m0s'],
    [359_999, '6m0s'],
  ])('writes %d ms as OpenAI does', (ms, text) => {
    expect(formatReset(ms)).toBe(text);
  });
});
