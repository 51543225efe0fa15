import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ReadViews } from '../../../../gateway/upstream/socket/read-views.ts';

test('a view is the bytes that were asked for, whatever was asked for before', () => {
  const memory = Buffer.from(Array.from({ length: 4096 }, (_, at) => at % 251));
  const views = new ReadViews(memory);
  const end = fc.oneof(fc.nat(12), fc.integer({ min: 1015, max: 1035 }), fc.nat(4096));
  fc.assert(
    fc.property(fc.nat(12), end, (from, to) => {
      const begin = Math.min(from, to);
      expect(views.of(begin, to).equals(memory.subarray(begin, to))).toBe(true);
    }),
    { numRuns: 5_000 },
  );
});

test('the same bytes are the same view', () => {
  const views = new ReadViews(Buffer.alloc(64));
  expect(views.of(4, 20)).toBe(views.of(4, 20));
  expect(views.of(4, 20)).not.toBe(views.of(3, 20));
});
