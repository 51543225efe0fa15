import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { BlockHashes } from '../../../../domain/routing/prefix/block-hashes.ts';
import { BlockMemory } from '../../../../domain/routing/prefix/block-memory.ts';

function hashed(bytes: Uint8Array, seed = 1, from = 0): BlockHashes {
  const hashes = new BlockHashes();
  hashes.read(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), from, bytes.length, seed);
  return hashes;
}
const keys = (hashes: BlockHashes) => [...hashes.keys.subarray(0, hashes.count)];
/** Any bytes, repeated to a length; fast to make. */
const bytes = (length: number, salt: number) =>
  Uint8Array.from({ length }, (_, at) => (at * 31 + (at >> 8) * 7 + salt) & 255);

describe('block hashes', () => {
  test.each([
    [0, 0],
    [255, 0],
    [256, 1],
    [4_095, 15],
    [4_096, 16],
    [5_119, 16],
    [5_120, 17],
    [32_768, 44],
    [10_000_000, 128],
  ])('%p bytes are %p blocks', (length, count) => {
    const hashes = hashed(bytes(length, 3));
    expect(hashes.count).toBe(count);
    expect(hashes.bytesOf(count)).toBeLessThanOrEqual(length);
    expect(new Set(keys(hashes)).size).toBe(count);
    expect(keys(hashes).every((key) => key > 0)).toBe(true);
  });

  test('are equal up to the block in which the first difference lies, and differ from there', () => {
    fc.assert(
      fc.property(fc.nat(4_095), fc.integer({ min: 1, max: 255 }), fc.nat(255), (at, change, salt) => {
        const one = bytes(8_192, salt);
        const other = one.slice();
        other[at] = (other[at] ?? 0) ^ change;
        const [a, b] = [keys(hashed(one)), keys(hashed(other))];
        const block = at >> 8;
        expect(b.slice(0, block)).toEqual(a.slice(0, block));
        for (let later = block; later < a.length; later += 1) expect(b[later]).not.toBe(a[later]);
      }),
    );
  });

  test('depend on the seed, and not on where the bytes lie', () => {
    const one = bytes(2_048, 9);
    expect(keys(hashed(one, 1))).not.toEqual(keys(hashed(one, 2)));
    for (let shift = 1; shift < 8; shift += 1) {
      const moved = new Uint8Array(2_048 + shift);
      moved.set(one, shift);
      expect(keys(hashed(moved, 1, shift))).toEqual(keys(hashed(one, 1)));
      expect(keys(hashed(moved.subarray(shift), 1))).toEqual(keys(hashed(one, 1)));
    }
  });

  test('of different prompts do not meet', () => {
    const all = new Set<number>();
    for (let n = 0; n < 5_000; n += 1) {
      const text = Buffer.from(`{"role":"user","content":"question number ${n}"}`.repeat(8));
      for (const key of keys(hashed(text))) all.add(key);
    }
    expect(all.size).toBe(5_000);
  });
});

describe('a memory of blocks', () => {
  const block = fc.integer({ min: 1, max: 60 });
  test('knows what was added last, never what was not, and never holds more than its capacity', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 40 }), fc.array(block, { maxLength: 300 }), (capacity, added) => {
        const memory = new BlockMemory(capacity);
        added.forEach((key, at) => {
          memory.add(Int32Array.of(key), 1);
          expect(memory.size).toBeLessThanOrEqual(capacity);
          if (at % 7 > 0 && at < added.length - 1) return;
          const last = new Set<number>();
          for (let back = at; back >= 0 && last.size < capacity >> 1; back -= 1) last.add(added[back]!);
          for (const each of last) expect(memory.matched(Int32Array.of(each), 1)).toBe(1);
        });
        for (let key = 1; key <= 60; key += 1)
          if (!added.includes(key)) expect(memory.matched(Int32Array.of(key), 1)).toBe(0);
      }),
    );
  });

  test('counts a beginning without gaps', () => {
    const memory = new BlockMemory(100);
    memory.add(Int32Array.of(1, 2, 4), 3);
    expect(memory.matched(Int32Array.of(1, 2, 3, 4), 4)).toBe(2);
    expect(memory.matched(Int32Array.of(9, 1), 2)).toBe(0);
  });

  test('finds a block among many others that were forgotten', () => {
    const memory = new BlockMemory(8_192);
    for (let key = 1; key < 60_000; key += 1) memory.add(Int32Array.of(key), 1);
    expect(memory.matched(Int32Array.of(59_999), 1)).toBe(1);
    expect(memory.matched(Int32Array.of(1), 1)).toBe(0);
    expect(memory.size).toBeLessThanOrEqual(8_192);
  });
});
