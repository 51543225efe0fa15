import { randomBytes } from 'node:crypto';
import { crc32 as zlibCrc32 } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { crc32 } from '../../../domain/access/crc32.ts';
import { keyBytes, keyPattern, makeKey, parseKey } from '../../../domain/access/key.ts';

const bytes = fc.uint8Array({
  minLength: keyBytes.id + keyBytes.secret,
  maxLength: keyBytes.id + keyBytes.secret,
});

describe('the form of an API key', () => {
  test('is known again, with its id', () => {
    fc.assert(
      fc.property(bytes, (chance) => {
        const { id, key } = makeKey(chance);
        expect(key).toMatch(keyPattern);
        expect(parseKey(key)).toEqual({ kind: 'key', id });
      }),
    );
  });

  test('tells a slip of one character, and a cut, from a key', () => {
    fc.assert(
      fc.property(bytes, fc.nat(), fc.constantFrom('a', 'Z', '0', '_', 'x'), (chance, at, letter) => {
        const { key } = makeKey(chance);
        const index = 3 + (at % (key.length - 3));
        const slipped = key.slice(0, index) + letter + key.slice(index + 1);
        if (slipped !== key) expect(parseKey(slipped)).toEqual({ kind: 'malformed' });
        expect(parseKey(key.slice(0, index))).toEqual({ kind: 'malformed' });
        expect(parseKey(`${key}0`)).toEqual({ kind: 'malformed' });
      }),
    );
  });

  test('leaves credentials of other forms to their hash', () => {
    for (const text of ['', 'sk-abc', 'MK_x', 'eyJhbGciOiJSUzI1NiJ9.e30.x']) {
      expect(parseKey(text)).toEqual({ kind: 'foreign' });
    }
  });

  test('uses all of its chance: two keys share nothing but the prefix', () => {
    const keys = Array.from({ length: 200 }, () => makeKey(randomBytes(keyBytes.id + keyBytes.secret)));
    expect(new Set(keys.map(({ id }) => id)).size).toBe(200);
    for (let at = 0; at < 43; at += 1) {
      expect(new Set(keys.map(({ key }) => key[14 + at])).size).toBeGreaterThan(20);
    }
    expect(() => makeKey(new Uint8Array(3))).toThrow(RangeError);
  });

  test('has the checksum that everybody computes', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[\x20-\x7e]*$/), (text) => {
        expect(crc32(text)).toBe(zlibCrc32(text));
      }),
    );
  });
});
