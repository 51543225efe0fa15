import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { MessageSizes } from '../../../gateway/grpc/message-sizes.ts';
import { framed } from '../../fixtures/grpc/raw-client.ts';

describe('MessageSizes', () => {
  test('knows messages by their size, wherever their bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(400), { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 300 })),
        (lengths, cuts) => {
          const bytes = Buffer.concat(lengths.map((length) => framed(Buffer.alloc(length, 7))));
          const sizes = new MessageSizes();
          let whole = 0;
          let at = 0;
          for (const cut of [...cuts, bytes.length]) {
            whole += sizes.add(bytes.subarray(at, at + cut));
            at += cut;
          }
          expect(whole).toBe(lengths.length);
          expect(sizes.isInside).toBe(false);
          expect(lengths.map(() => sizes.next())).toEqual(lengths.map((length) => length + 5));
        },
      ),
    );
  });

  test('is inside a message from its first byte to its last', () => {
    const sizes = new MessageSizes();
    const bytes = framed(Buffer.alloc(3));
    const inside = [...bytes].map((byte) => {
      sizes.add(Uint8Array.of(byte));
      return sizes.isInside;
    });
    expect(inside).toEqual([true, true, true, true, true, true, true, false]);
  });
});
