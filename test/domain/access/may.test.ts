import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { anonymous, nobody } from '../../../domain/access/caller.ts';
import { tierOf } from '../../../domain/access/tier-of.ts';
import { hasScope, may, maySee, maySeeAll } from '../../../domain/access/may.ts';
import { tierRank, tiers } from '../../../domain/qos/tier.ts';
import type { OperationKind } from '../../../domain/routing/operation.ts';

const iris = { key: 'default/iris' };
const who = (scopes: string[], models: string[]) => ({ scopes, models });

describe('may a caller do this to this service', () => {
  test.each<[string, string[], string[], OperationKind, boolean]>([
    ['its own model', ['infer'], ['default/iris'], 'openai-call', true],
    ['every model', ['infer'], ['*'], 'v2-call', true],
    ['every model of the namespace', ['infer'], ['default/*'], 'v1-call', true],
    ['a model of the same name elsewhere', ['infer'], ['team/iris'], 'openai-call', false],
    ['a longer name', ['infer'], ['default/iris2'], 'openai-call', false],
    ['a shorter name', ['infer'], ['default/iri'], 'openai-call', false],
    ['a namespace that begins alike', ['infer'], ['defaul/*'], 'openai-call', false],
    ['a namespace that goes on', ['infer'], ['default2/*'], 'openai-call', false],
    ['none', ['infer'], [], 'openai-call', false],
    ['the second of two', ['infer'], ['team/*', 'default/iris'], 'openai-call', true],
    ['all scopes', ['*'], ['*'], 'v2-load', true],
    ['load without the scope for it', ['infer'], ['*'], 'v2-load', false],
    ['unload without the scope for it', ['infer'], ['*'], 'v2-unload', false],
    ['load with it', ['admin'], ['default/iris'], 'v2-load', true],
    ['load with it, of another model', ['admin'], ['default/other'], 'v2-load', false],
    ['ask with the scope to load alone', ['admin'], ['*'], 'openai-call', false],
    ['read metadata', ['infer'], ['*'], 'v2-read', true],
    ['no scope at all', [], ['*'], 'openai-call', false],
    ['a scope that only looks like one', ['INFER', 'inferx'], ['*'], 'openai-call', false],
    ['a probe, whoever it is', [], [], 'v2-ready', true],
  ])('%s: scopes %j, models %j, %s: %s', (_what, scopes, models, kind, expected) => {
    expect(may(who(scopes, models), iris, kind)).toBe(expected);
  });

  test('an open gateway lets anybody do everything, a closed one lets nobody do anything', () => {
    for (const kind of ['openai-call', 'v2-load', 'metrics', 'model-list'] as const) {
      expect(may(anonymous, iris, kind)).toBe(true);
      expect(may(nobody, iris, kind)).toBe(false);
    }
  });

  const segment = fc.stringMatching(/^[a-z][a-z0-9-]{0,5}$/);
  const pattern = fc.oneof(
    fc.constant('*'),
    segment.map((ns) => `${ns}/*`),
    fc.tuple(segment, segment).map(([ns, name]) => `${ns}/${name}`),
  );

  test('what may be seen is exactly what a pattern names, and more patterns never take away', () => {
    fc.assert(
      fc.property(fc.array(pattern), pattern, segment, segment, (models, more, ns, name) => {
        const key = `${ns}/${name}`;
        const named = models.some((one) => one === '*' || one === key || one === `${ns}/*`);
        expect(maySee({ models }, { key })).toBe(named);
        if (named) expect(maySee({ models: [...models, more] }, { key })).toBe(true);
      }),
    );
  });

  test('who may see all of a namespace may see each of it', () => {
    fc.assert(
      fc.property(fc.array(pattern), segment, segment, (models, ns, name) => {
        if (maySeeAll({ models }, ns)) expect(maySee({ models }, { key: `${ns}/${name}` })).toBe(true);
        if (maySeeAll({ models }, null)) expect(maySeeAll({ models }, ns)).toBe(true);
      }),
    );
  });

  test('a scope is had by its name or by *', () => {
    expect(hasScope({ scopes: ['metrics'] }, 'metrics')).toBe(true);
    expect(hasScope({ scopes: ['*'] }, 'metrics')).toBe(true);
    expect(hasScope({ scopes: ['infer', 'admin'] }, 'metrics')).toBe(false);
  });
});

describe('x-muster-tier', () => {
  test('never raises a tier, and lowers it as asked', () => {
    for (const own of tiers) {
      for (const asked of tiers) {
        const tier = tierOf(own, asked);
        expect(tier).toBe(tierRank(asked) > tierRank(own) ? asked : own);
      }
      expect(tierOf(own, 'Critical')).toBeNull();
      expect(tierOf(own, '')).toBeNull();
      expect(tierOf(own, '__proto__')).toBeNull();
    }
  });
});
