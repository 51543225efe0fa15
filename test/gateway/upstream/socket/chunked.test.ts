import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ChunkDecoder, soleChunkFrom } from '../../../../gateway/upstream/socket/chunked.ts';

const bytes = (text: string) => Buffer.from(text, 'latin1');
const framed = (payload: string) => `${payload.length.toString(16)}\r\n${payload}\r\n`;

/** What the decoder makes of bytes that were read where a chunk begins. */
function decoded(read: Buffer): { payload: string; isBetween: boolean } {
  const decoder = new ChunkDecoder();
  const copy = Buffer.from(read); // it moves payload together in place
  const wrong = decoder.decode(copy, 0, copy.length);
  const payload = copy.toString('latin1', decoder.from, decoder.to);
  return { payload, isBetween: wrong === '' && decoder.isBetween };
}

describe('one plain chunk that fills a read', () => {
  test.each([
    ['a chunk', framed('data: {}\n\n'), 3],
    ['one of a single byte', framed('x'), 3],
    ['one whose size has several digits, in capitals', `1A\r\n${'x'.repeat(26)}\r\n`, 4],
    ['one with a leading zero', '01\r\nx\r\n', 4],
  ])('%s is found', (_name, text, from) => {
    expect(soleChunkFrom(bytes(text), text.length)).toBe(from);
  });

  test.each([
    ['nothing', ''],
    ['the last chunk', '0\r\n\r\n'],
    ['two chunks', framed('a') + framed('b')],
    ['a chunk and the last one', framed('a') + '0\r\n\r\n'],
    ['a chunk that is cut', framed('data: {}').slice(0, -1)],
    ['a chunk and a byte', `${framed('data')}4`],
    ['an extension', '1;a=b\r\nx\r\n'],
    ['a size in no line of its own', '1xx\r\n'],
    ['a line that ends with a line feed alone', '1\nxx\r\n'],
    ['data longer than its size', '1\r\nxy\r\n'],
    ['no size', '\r\n\r\n'],
    ['a size of too many digits', `${'0'.repeat(7)}1\r\nx\r\n`],
  ])('%s is left to the decoder', (_name, text) => {
    expect(soleChunkFrom(bytes(text), text.length)).toBe(0);
  });

  test('only what was read counts, not the bytes of earlier reads behind it', () => {
    const memory = bytes(`${framed('abc')}${framed('of before')}`);
    expect(soleChunkFrom(memory, framed('abc').length)).toBe(3);
    expect(soleChunkFrom(memory, framed('abc').length - 1)).toBe(0);
  });

  test('where it finds one, the decoder finds the same, and is between two chunks again', () => {
    const piece = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 40 }).map((text) => framed(bytes(text).toString('latin1'))),
      fc.constantFrom('\r\n', '0', '\r', '\n', ';', '0\r\n\r\n', '5\r\n'),
    );
    fc.assert(
      fc.property(fc.array(piece, { minLength: 1, maxLength: 3 }), fc.nat({ max: 3 }), (pieces, cut) => {
        const all = bytes(pieces.join(''));
        const read = all.subarray(0, Math.max(0, all.length - cut));
        const from = soleChunkFrom(read, read.length);
        if (from === 0) return;
        expect(decoded(read)).toEqual({
          payload: read.toString('latin1', from, read.length - 2),
          isBetween: true,
        });
      }),
      { numRuns: 2_000 },
    );
  });
});
