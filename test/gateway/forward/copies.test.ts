import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { copyOf } from '../../../gateway/forward/copies.ts';

test('copies are equal, of their own, and stay so while others are made', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 40_000 }), { minLength: 1, maxLength: 60 }), (lengths) => {
      const made = lengths.map((length, at) => {
        const chunk = new Uint8Array(length).fill(at + 1);
        const copy = copyOf(chunk);
        chunk.fill(0); // the connection uses its bytes again
        return copy;
      });
      made.forEach((copy, at) => {
        expect(copy.length).toBe(lengths[at]);
        expect(copy.every((byte) => byte === at + 1)).toBe(true);
      });
    }),
    { numRuns: 50 },
  );
});
