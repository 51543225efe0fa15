import { describe, expect, test } from '@jest/globals';
import { capacityOf, concurrencyOf, limitsAnything } from '../../../domain/qos/capacity.ts';
import { DrainRate, retryAfterS } from '../../../domain/qos/drain-rate.ts';
import { QosPolicy } from '../../../domain/qos/qos-policy.schema.ts';
import { requestTurns } from '../../../domain/qos/request-cost.ts';

describe('how many requests a service takes at once', () => {
  test('the empty policy limits nothing and weighs the tiers 80, 15, 4 and 1', () => {
    const policy = QosPolicy.parse({});
    expect(limitsAnything(policy)).toBe(false);
    expect(concurrencyOf(policy, 'default/a', 1)).toBeNull();
    expect(policy.weights).toEqual({ critical: 80, high: 15, standard: 4, 'best-effort': 1 });
  });

  test.each([
    ['per endpoint', { perEndpoint: 8 }, 3, 24],
    ['per service', { perService: 5 }, 3, 5],
    ['the smaller of both', { perEndpoint: 4, perService: 10 }, 2, 8],
    [
      'its own limit in place of the general one',
      { perEndpoint: 4, services: { 'default/a': { perEndpoint: 1 } } },
      2,
      2,
    ],
    ["this gateway's part of it", { perEndpoint: 9, gateways: 4 }, 2, 4],
    ['one at least, however many gateways share it', { perService: 2, gateways: 4 }, 2, 1],
    ['nothing without an endpoint', { perEndpoint: 9 }, 0, 0],
  ])('%s', (_name, concurrency, endpoints, expected) => {
    const policy = QosPolicy.parse({ concurrency });
    expect(limitsAnything(policy)).toBe(true);
    const limits = concurrencyOf(policy, 'default/a', 1);
    expect(limits === null ? null : capacityOf(limits, endpoints)).toBe(expected);
  });

  test("each process of a gateway has its part of the gateway's part", () => {
    const policy = QosPolicy.parse({ concurrency: { perEndpoint: 24, perService: 100, gateways: 2 } });
    expect(concurrencyOf(policy, 'default/a', 3)).toEqual({ perEndpoint: 4, perService: 16 });
  });

  test('a service may be freed from the general limit', () => {
    const policy = QosPolicy.parse({
      concurrency: { perEndpoint: 4, services: { 'default/a': { perEndpoint: null } } },
    });
    expect(concurrencyOf(policy, 'default/a', 1)).toBeNull();
    expect(concurrencyOf(policy, 'default/b', 1)).not.toBeNull();
  });
});

describe('when to come back', () => {
  test('the pace is that of the last ten seconds', () => {
    const rate = new DrainRate();
    expect(rate.perSecond(5_000)).toBe(0);
    for (let second = 0; second < 20; second += 1)
      for (let n = 0; n < 4; n += 1) rate.add(second * 1_000 + n);
    expect(rate.perSecond(19_500)).toBe(4);
    expect(rate.perSecond(24_500)).toBe(2);
    expect(rate.perSecond(60_000)).toBe(0);
  });

  test('a young queue is measured by its own age', () => {
    const rate = new DrainRate();
    for (let n = 0; n < 6; n += 1) rate.add(100_000 + n * 300);
    expect(rate.perSecond(101_900)).toBe(3);
  });

  test.each([
    [0, 10, 1],
    [10, 10, 1],
    [25, 10, 3],
    [100_000, 10, 60],
    [0, 0, 1],
    [5, 0, 10],
  ])('%d ahead at %d a second: after %d s', (ahead, perSecond, seconds) => {
    expect(retryAfterS(ahead, perSecond)).toBe(seconds);
  });
});

describe('what a request costs its tenant', () => {
  test.each([
    ['a short prompt with a short answer', 40, { max_tokens: 10 }, 1],
    ['a long prompt', 8_192, { max_tokens: 0 }, 5],
    ['a long answer asked for', 4, { max_completion_tokens: 4_000 }, 8],
    ['the longest of all', 1_000_000, {}, 16],
    ['a V2 request', 4_096, null, 2],
    ['an empty body', 0, null, 1],
    ['a nonsensical number', 4, { max_tokens: 'many' }, 1],
  ])('%s', (_name, bytes, fields, turns) => {
    expect(requestTurns(bytes, fields)).toBe(turns);
  });
});
