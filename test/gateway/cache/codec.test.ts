import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { decodeEntry, encodeEntry } from '../../../gateway/cache/codec.ts';
import type { Entry } from '../../../gateway/cache/entry.ts';

const entry = (body: Uint8Array): Entry => ({
  status: 200,
  form: 'json',
  delivery: 'chat',
  hasUsage: true,
  contentType: 'application/json; charset="ü"',
  jsonLength: null,
  body: Buffer.from(body),
  storedAtMs: 1_700_000_000_000,
  expiresAtMs: 1_700_000_001_000,
  staleUntilMs: 1_700_000_002_000,
  inputTokens: 3,
  outputTokens: 4,
});
const bytesMax = 100_000;

describe('an entry as bytes', () => {
  test('comes back as it was, compressed or not', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 3_000 }),
        fc.constantFrom(0, 100, 100_000),
        async (body, min) => {
          const bytes = await encodeEntry('k', entry(body), min);
          expect(decodeEntry('k', bytes, bytesMax)).toEqual(entry(body));
        },
      ),
    );
  });

  test.each([
    ['compressed', 0],
    ['as it is', 100_000],
  ])('holds no more memory than its body once it is read (%s)', async (_how, min) => {
    for (const size of [0, 10, 2_500]) {
      const bytes = await encodeEntry('k', entry(Buffer.alloc(size, 'a')), min);
      // As a client of Redis hands it over: a slice of all that came at once.
      const received = Buffer.concat([Buffer.alloc(500), bytes, Buffer.alloc(500)]).subarray(500, -500);
      const read = decodeEntry('k', received, bytesMax);
      expect(read?.body.toString()).toBe('a'.repeat(size));
      expect(read?.body.buffer.byteLength).toBe(size);
    }
  });

  test('is smaller for text', async () => {
    const body = Buffer.from('the same words again and again. '.repeat(500));
    expect((await encodeEntry('k', entry(body), 2_048)).length).toBeLessThan(body.length / 10);
  });

  test.each([0, 100_000])(
    'is nothing when it was cut or changed anywhere (compressed from %i)',
    async (min) => {
      const bytes = await encodeEntry('k', entry(Buffer.from('hello '.repeat(20))), min);
      for (let at = 0; at < bytes.length; at += 1) {
        expect(decodeEntry('k', bytes.subarray(0, at), bytesMax)).toBeNull();
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ 1;
        expect(decodeEntry('k', changed, bytesMax)).toBeNull();
      }
      expect(decodeEntry('k', Buffer.concat([bytes, Buffer.from('x')]), bytesMax)).toBeNull();
    },
  );

  test('is nothing under another key, or when it is larger than it may be', async () => {
    const bomb = await encodeEntry('k', entry(Buffer.alloc(bytesMax + 1)), 0);
    expect(bomb.length).toBeLessThan(2_000);
    expect(decodeEntry('k', bomb, bytesMax)).toBeNull();
    expect(decodeEntry('k', bomb, bytesMax + 1)?.body.length).toBe(bytesMax + 1);
    expect(decodeEntry('l', bomb, bytesMax + 1)).toBeNull();
    const plain = await encodeEntry('k', entry(Buffer.alloc(200)), bytesMax);
    expect(decodeEntry('k', plain, 100)).toBeNull();
  });

  test('is nothing when it is any other bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(decodeEntry('k', Buffer.from(bytes), bytesMax)).toBeNull();
        expect(decodeEntry('k', Buffer.from([1, ...bytes]), bytesMax)).toBeNull();
      }),
    );
  });
});
