import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Needle } from '../../../domain/sse/needle.ts';
import { BufferNeedle } from '../../../gateway/usage/buffer-needle.ts';

describe.each([Needle, BufferNeedle])('a %p', (Kind) => {
  test('is found wherever Buffer finds it, in short pieces and long ones', () => {
    const few = fc.string({ unit: fc.constantFrom('a', 'b', '"'), maxLength: 40 });
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('a', 'b', '"'), minLength: 1, maxLength: 4 }),
        few,
        fc.nat(45),
        fc.boolean(),
        (text, hay, from, isLong) => {
          const needle = new Kind(text);
          const piece = Buffer.from(isLong ? `${hay}${'-'.repeat(2000)}${hay}` : hay);
          expect(needle.indexIn(piece, from)).toBe(piece.indexOf(text, from));
          expect(needle.lastIndexIn(piece)).toBe(piece.lastIndexOf(text));
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('may begin where the rest of a piece is its beginning', () => {
    const needle = new Kind('"usage"');
    expect(needle.mayBeginAt(Buffer.from('x"usa'), 1)).toBe(true);
    expect(needle.mayBeginAt(Buffer.from('x"use'), 1)).toBe(false);
  });
});
