import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { readDirectives } from '../../../domain/cache/directives.ts';

const plain = { isSkipped: false, isRefresh: false, maxAgeS: Infinity, isOnlyIfCached: false };

describe('what a client says of the cache', () => {
  test.each([
    [undefined, undefined, {}],
    ['', '', {}],
    ['no-store', undefined, { isSkipped: true }],
    ['No-Cache', undefined, { isRefresh: true }],
    ['max-age=0', undefined, { isRefresh: true, maxAgeS: 0 }],
    ['max-age=30', undefined, { maxAgeS: 30 }],
    ['max-age="30"', undefined, { maxAgeS: 30 }],
    ['max-age=30, max-age=10', undefined, { maxAgeS: 10 }],
    ['max-age', undefined, { isRefresh: true, maxAgeS: 0 }],
    ['max-age=soon', undefined, { isRefresh: true, maxAgeS: 0 }],
    ['max-age=-1', undefined, { isRefresh: true, maxAgeS: 0 }],
    [' only-if-cached , max-age=5', undefined, { isOnlyIfCached: true, maxAgeS: 5 }],
    [['no-cache', 'only-if-cached'], undefined, { isRefresh: true, isOnlyIfCached: true }],
    ['max-stale=5, min-fresh=1, no-transform', undefined, {}],
    [undefined, 'skip', { isSkipped: true }],
    [undefined, ' SKIP ', { isSkipped: true }],
    [undefined, 'please', {}],
  ])('%j and %j', (control, own, expected) => {
    expect(readDirectives(control, own)).toEqual({ ...plain, ...expected });
  });

  test('is read from any text without an error', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (control, own) => {
        const read = readDirectives(control, own);
        expect(read.maxAgeS >= 0).toBe(true);
      }),
    );
  });
});
