import { describe, expect, test } from '@jest/globals';
import { ResiliencePolicy } from '../../../domain/resilience/resilience-policy.schema.ts';
import { defaultSettings, fallbacksOf, retryRules, settingsOf } from '../../../domain/resilience/settings.ts';

describe('settingsOf', () => {
  test('an empty policy is the defaults', () => {
    expect(settingsOf(ResiliencePolicy.parse({}), 'a/b')).toEqual(defaultSettings);
  });

  test("a service's words come before those for all, field by field", () => {
    const policy = ResiliencePolicy.parse({
      all: { retry: { tries: 5, perTryMs: 100 }, totalMs: 1000 },
      services: { 'a/b': { retry: { perTryMs: null }, midStream: { mode: 'continue' } } },
    });
    const settings = settingsOf(policy, 'a/b');
    expect(settings.retry).toMatchObject({ tries: 5, perTryMs: null, windowMs: 2000 });
    expect(settings.totalMs).toBe(1000);
    expect(settings.midStream).toEqual({ ...defaultSettings.midStream, mode: 'continue' });
    expect(settingsOf(policy, 'a/c').retry.perTryMs).toBe(100);
    expect(settingsOf(policy, '__proto__').retry.perTryMs).toBe(100);
  });

  test.each([
    { all: { retry: { tries: 0 } } },
    { all: { retry: { times: 3 } } },
    { services: { 'no-slash': {} } },
    { all: { hedge: { after: 'sometimes' } } },
    { fallbacks: { 'a/b': ['c'] } },
    { all: { activeHealth: { path: 'health' } } },
  ])('%j is refused', (policy) => {
    expect(ResiliencePolicy.safeParse(policy).success).toBe(false);
  });
});

describe('fallbacksOf', () => {
  test('names each once, and never the service itself', () => {
    const policy = ResiliencePolicy.parse({ fallbacks: { 'a/b': ['a/c', 'a/b', 'a/c', 'd/e'] } });
    expect(fallbacksOf(policy, 'a/b')).toEqual(['a/c', 'd/e']);
    expect(fallbacksOf(policy, 'a/c')).toEqual([]);
    expect(fallbacksOf(policy, 'constructor')).toEqual([]);
  });
});

test('retryRules stay within the bounds of the gateway', () => {
  const retry = { ...defaultSettings.retry, tries: 10, windowMs: 60_000, perTryMs: 100 };
  expect(retryRules(retry, { triesMax: 2, retryWindowMs: 500 })).toEqual({
    triesMax: 2,
    retryWindowMs: 500,
    retryAfterMsMax: 0,
    isTryTimed: true,
  });
});
