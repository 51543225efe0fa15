import { describe, expect, test } from '@jest/globals';
import { BudgetsPolicy } from '../../../domain/budget/budget-policy.schema.ts';
import { RateLimitsPolicy } from '../../../domain/rate-limit/rate-limit-policy.schema.ts';

const budget = { id: 'team', period: 'month', limitTokens: 5 };
const limit = { id: 'team', requestsPerMinute: 5 };

describe.each([
  ['budgets', BudgetsPolicy, budget, 'limitTokens'],
  ['rate limits', RateLimitsPolicy, limit, 'requestsPerMinute'],
] as const)('%s', (what, policy, one, amount) => {
  const refused = (value: unknown): string => {
    const read = policy.safeParse(value);
    return read.success ? '' : (read.error.issues[0]?.message ?? '');
  };

  test('match all requests together, and refuse, unless they say otherwise', () => {
    expect(policy.parse([one])).toEqual([{ ...one, match: {}, mode: 'enforce' }]);
    expect(policy.parse(undefined)).toEqual([]);
  });

  test('are told apart by their ids', () => {
    expect(refused([one, { ...one, id: 'other' }])).toBe('');
    expect(refused([one, one])).toBe(`two ${what} have the same id`);
    expect(refused([{ ...one, id: 'a|b' }])).toContain('must be lower-case letters');
  });

  test('need an amount, and take no words that they do not know', () => {
    expect(refused([{ ...one, [amount]: undefined }])).toContain(amount);
    expect(refused([{ ...one, match: { user: 'ann' } }])).toContain('user');
    expect(refused([{ ...one, limit: 3 }])).toContain('limit');
    expect(refused([{ ...one, per: 'day' }])).not.toBe('');
  });
});
