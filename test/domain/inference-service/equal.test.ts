import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { canonicalJson, sameDesired } from '../../../domain/inference-service/equal.ts';
import { serviceOf } from '../../fixtures/domain/objects.ts';

/** The same value with the keys of every object in another order. */
function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, item]) => [key, reversed(item)]),
  );
}

describe('canonicalJson', () => {
  test('the order of keys does not matter', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(canonicalJson(reversed(value))).toBe(canonicalJson(value));
      }),
    );
  });
  test('keeps the value', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });
  test('undefined is absent, null is not', () => {
    expect(canonicalJson({ b: undefined, a: 1 })).toBe('{"a":1}');
    expect(canonicalJson({ b: null, a: 1 })).toBe('{"a":1,"b":null}');
    expect(canonicalJson(undefined)).toBe('null');
  });
  test('a key named __proto__ counts', () => {
    expect(canonicalJson(JSON.parse('{"__proto__":{"a":1}}'))).toBe('{"__proto__":{"a":1}}');
  });
});

describe('sameDesired', () => {
  const object = serviceOf({ args: ['a', 'b'] }, { labels: { a: '1', b: '2' } });
  test('generation, status and other bookkeeping do not count', () => {
    const stored = {
      ...object,
      metadata: { ...object.metadata, generation: 4, resourceVersion: '9', uid: 'x' },
      status: { observedGeneration: 4 },
    };
    expect(sameDesired(object, stored)).toBe(true);
  });
  test('no labels and empty labels are the same', () => {
    expect(sameDesired(serviceOf(), serviceOf({}, { labels: {}, annotations: {} }))).toBe(true);
  });
  test.each([
    ['an argument', serviceOf({ args: ['a', 'c'] }, { labels: { a: '1', b: '2' } })],
    ['the order of arguments', serviceOf({ args: ['b', 'a'] }, { labels: { a: '1', b: '2' } })],
    ['a label', serviceOf({ args: ['a', 'b'] }, { labels: { a: '1', b: '3' } })],
    [
      'an annotation',
      serviceOf({ args: ['a', 'b'] }, { labels: { a: '1', b: '2' }, annotations: { c: '' } }),
    ],
  ])('%s counts', (_name, other) => {
    expect(sameDesired(object, other)).toBe(false);
  });
});
