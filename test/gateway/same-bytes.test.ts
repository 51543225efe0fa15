import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { flat } from '../../gateway/flat-text.ts';
import { hasBytesAt } from '../../gateway/same-bytes.ts';

test('bytes are found at a place exactly where they stand', () => {
  const few = fc.uint8Array({ max: 2, maxLength: 12 });
  fc.assert(
    fc.property(few, few, fc.nat(14), (bytes, known, at) => {
      const there = Buffer.from(bytes).subarray(at, at + known.length);
      expect(hasBytesAt(bytes, at, known)).toBe(at <= bytes.length && there.equals(known));
    }),
  );
});

test('a text in one piece is the same text, of all bytes', () => {
  const byte = fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code));
  fc.assert(
    fc.property(fc.array(byte, { maxLength: 300 }), (parts) => {
      expect(flat(parts.join(''))).toBe(parts.join(''));
    }),
  );
});
