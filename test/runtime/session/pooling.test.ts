import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { meanPool, normalise } from '../../../runtime/session/pooling.ts';

describe('meanPool', () => {
  test('takes the mean over the tokens of each text and leaves the padding out', () => {
    const hidden = Float32Array.of(1, 2, 3, 4, 99, 99, 5, 6, 99, 99, 99, 99);
    expect(meanPool(hidden, [2, 1], 3, 2)).toEqual([Float32Array.of(2, 3), Float32Array.of(5, 6)]);
  });

  test('gives a text of equal vectors that vector, however much padding stands behind it', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 6 }),
        fc.nat({ max: 6 }),
        fc.integer({ min: -9, max: 9 }),
        (n, pad, value) => {
          const hidden = Float32Array.from([
            ...Array<number>(n).fill(value),
            ...Array<number>(pad).fill(1e9),
          ]);
          expect(meanPool(hidden, [n], n + pad, 1)).toEqual([Float32Array.of(value)]);
        },
      ),
    );
  });
});

describe('normalise', () => {
  test('gives length one in the same direction, and leaves zero as it is', () => {
    expect(normalise(Float32Array.of(3, 4))).toEqual(Float32Array.of(0.6, 0.8));
    expect(normalise(Float32Array.of(0, 0))).toEqual(Float32Array.of(0, 0));
  });
});
