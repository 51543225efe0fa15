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
