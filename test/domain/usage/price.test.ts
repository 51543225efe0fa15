import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { compilePrices, costOf, priceOf } from '../../../domain/usage/price.ts';
import { PricesPolicy } from '../../../domain/usage/prices-policy.schema.ts';

const micros = fc.nat({ max: 1_000_000_000 });
const tokens = fc.nat({ max: 1_000_000_000 });
const price = fc.record({ input: micros, cachedInput: micros, output: micros, perRequest: micros });
const usage = fc
  .record({ inputTokens: tokens, cachedInputTokens: tokens, outputTokens: tokens })
  .map((u) => ({ ...u, cachedInputTokens: Math.min(u.cachedInputTokens, u.inputTokens) }));

describe('costOf', () => {
  test('is what exact arithmetic gives, rounded half up', () => {
    fc.assert(
      fc.property(price, usage, (p, u) => {
        const exact =
          BigInt(u.inputTokens - u.cachedInputTokens) * BigInt(p.input) +
          BigInt(u.cachedInputTokens) * BigInt(p.cachedInput) +
          BigInt(u.outputTokens) * BigInt(p.output);
        const rounded = (exact + 500_000n) / 1_000_000n + BigInt(p.perRequest);
        expect(BigInt(costOf(p, u))).toBe(rounded);
      }),
      { numRuns: 2_000 },
    );
  });

  test('is a whole number, never less for more tokens', () => {
    fc.assert(
      fc.property(price, usage, fc.nat({ max: 1_000_000 }), (p, u, more) => {
        const cost = costOf(p, u);
        expect(Number.isSafeInteger(cost)).toBe(true);
        expect(costOf(p, { ...u, outputTokens: u.outputTokens + more })).toBeGreaterThanOrEqual(cost);
      }),
    );
  });

  test('charges no more cached tokens than there is input', () => {
    const p = { input: 10_000_000, cachedInput: 1_000_000, output: 0, perRequest: 0 };
    expect(costOf(p, { inputTokens: 100, cachedInputTokens: 500, outputTokens: 0 })).toBe(100);
  });
});

describe('the price table', () => {
  const table = compilePrices(
    PricesPolicy.parse({
      models: [
        { model: 'team/chat', inputPerMillion: 1 },
        { model: 'chat', inputPerMillion: 2, cachedInputPerMillion: 0 },
        { model: '*', perRequest: 3 },
        { model: 'chat', inputPerMillion: 4 },
      ],
    }),
  );

  test.each([
    ['the service itself first', 'team/chat', 'chat', { input: 1, cachedInput: 1 }],
    [
      'then the name that the request used, as it was given first',
      'other/chat',
      'chat',
      { input: 2, cachedInput: 0 },
    ],
    ['then the price of all others', 'other/x', 'x', { perRequest: 3, input: 0 }],
  ])('takes %s', (_name, service, model, expected) => {
    expect(priceOf(table, service, model)).toMatchObject(expected);
  });

  test('has no price for what is not there', () => {
    expect(priceOf(compilePrices(PricesPolicy.parse({})), 'a/b', 'b')).toBeNull();
  });

  test.each([
    ['a fraction', { model: 'm', inputPerMillion: 0.5 }],
    ['less than nothing', { model: 'm', perRequest: -1 }],
    ['more than a double can multiply exactly', { model: 'm', outputPerMillion: 1_000_000_001 }],
    ['a field that it does not know', { model: 'm', input: 1 }],
  ])('refuses %s', (_name, model) => {
    expect(PricesPolicy.safeParse({ models: [model] }).success).toBe(false);
  });
});
