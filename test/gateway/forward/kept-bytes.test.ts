import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { KeptBytes } from '../../../gateway/forward/kept-bytes.ts';

test('all that came is kept up to the bound, and nothing beyond it', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 1500 }), { maxLength: 12 }), (texts) => {
      const kept = new KeptBytes(6_000);
      const memory = Buffer.alloc(8 * 1024);
      for (const text of texts) {
        const length = memory.write(text);
        kept.add(memory.subarray(0, length));
        memory.fill(0xdb); // the bytes held for that call alone
      }
      const all = texts.join('');
      const isTooMuch = Buffer.byteLength(all) > 6_000;
      expect(kept.isTooMuch).toBe(isTooMuch);
      expect(kept.text()).toBe(isTooMuch ? '' : all);
    }),
  );
});
