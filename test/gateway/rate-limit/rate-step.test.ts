import { beforeEach, describe, expect, test } from '@jest/globals';
import { anonymous } from '../../../domain/access/caller.ts';
import { RateLimitsPolicy } from '../../../domain/rate-limit/rate-limit-policy.schema.ts';
import { RateStep } from '../../../gateway/rate-limit/rate-step.ts';
import type { Passage } from '../../../gateway/passage.ts';
import type { Flow } from '../../../gateway/step.ts';

const bucketsMax = 5;

describe('more callers than there are buckets', () => {
  let now: number;
  let step: RateStep;
  let dropped: number;
  beforeEach(() => {
    [now, dropped] = [1_000_000, 0];
    step = new RateStep({
      nowMs: () => now,
      gateways: () => 1,
      onDrop: () => (dropped += 1),
      bucketsMax,
    });
    const limits = RateLimitsPolicy.parse([{ id: 'slow', per: 'key', requestsPerMinute: 2 }]);
    step.use(limits, { unsaidOutputTokens: 0, outputTokensMax: 0 });
  });

  const flow = { refuse: () => undefined } as unknown as Flow;
  /** @returns whether a request of this key passed */
  const ask = (key: string): boolean => {
    const passage = {
      meter: { price: null, numbers: { namespace: 'default', model: 'm' }, rates: null },
      caller: { ...anonymous, id: key },
      ...{ fields: null, estimatedTokens: -1, estimatedMicros: -1, rates: null },
      addHeader: () => undefined,
    } as unknown as Passage;
    return step.enter(passage, flow);
  };
  const asked = (key: string, times: number) => Array.from({ length: times }, () => ask(key));

  test('share one while the others are in use', () => {
    for (let key = 0; key < bucketsMax; key += 1) ask(`k${key}`);
    expect([ask('late'), ask('later'), ask('latest')]).toEqual([true, true, false]);
    expect(asked('k0', 2)).toEqual([true, false]);
    expect(step.buckets.size).toBe(bucketsMax + 1);
  });

  test('get those of callers that have not asked for a minute, since these are as good as new', () => {
    for (let key = 0; key < bucketsMax; key += 1) ask(`k${key}`);
    now += 30_000;
    asked('k0', 2);
    now += 30_000; // k0 is half full
    expect(asked('late', 3)).toEqual([true, true, false]);
    expect(asked('later', 3)).toEqual([true, true, false]);
    expect(asked('k0', 2)).toEqual([true, false]);
    expect(asked('k1', 3)).toEqual([true, true, false]);
    expect([dropped, step.buckets.size]).toEqual([1, 4]);
  });

  test('are counted as refused also when their buckets are gone', () => {
    asked('k0', 5);
    now += 60_000;
    for (let key = 1; key <= bucketsMax; key += 1) ask(`k${key}`);
    expect(step.buckets.has('slow/k0')).toBe(false);
    expect(step.counts.get('slow')).toEqual({ refused: 3, wouldRefuse: 0 });
  });
});

describe('a limit that only looks on', () => {
  const minutes = 20;
  const usage = { unsaidOutputTokens: 0, outputTokensMax: 0 };
  const flow = { refuse: () => undefined } as unknown as Flow;

  /** Twice the limit for a time, then half of it. @returns what was, or would have been, refused in each part */
  const refusals = (limit: object, usedTokens: number): readonly number[] => {
    let now = 0;
    const step = new RateStep({ nowMs: () => now, gateways: () => 1, onDrop: () => undefined });
    step.use(RateLimitsPolicy.parse([{ id: 'l', ...limit }]), usage);
    const ask = (): void => {
      const passage = {
        meter: { price: null, numbers: { namespace: 'default', model: 'm' }, rates: null },
        ...{ caller: anonymous, fields: null, estimatedTokens: -1, estimatedMicros: -1, rates: null },
        usage: { inputTokens: usedTokens, outputTokens: 0, cachedTokens: 0 },
        costMicros: 0,
        addHeader: () => undefined,
      } as unknown as Passage;
      if (step.enter(passage, flow)) step.settle(passage);
    };
    const count = (): number => {
      const { refused, wouldRefuse } = step.counts.get('l')!;
      return refused + wouldRefuse;
    };
    for (let n = 0; n < minutes * 120; n += 1, now += 500) ask();
    const first = count();
    for (let n = 0; n < minutes * 30; n += 1, now += 2_000) ask();
    return [first, count() - first];
  };

  test.each([
    ['requests', { requestsPerMinute: 60 }, 0],
    ['tokens', { tokensPerMinute: 600 }, 10],
  ])(
    'counts what an enforced one of %s refuses: what it would refuse takes nothing from it',
    (_, limit, used) => {
      const enforced = refusals({ ...limit, mode: 'enforce' }, used);
      expect(enforced[0]).toBeGreaterThan(0);
      expect(enforced[1]).toBe(0);
      expect(refusals({ ...limit, mode: 'shadow' }, used)).toEqual(enforced);
    },
  );
});
