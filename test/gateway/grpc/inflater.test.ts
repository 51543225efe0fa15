import { deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import { Inflater, inflationsMax, isDeflated } from '../../../gateway/grpc/inflater.ts';
import { until } from '../../fixtures/gateway/control-api.ts';

const plain = Buffer.alloc(100_000, 'words ');

describe('Inflater', () => {
  test('unpacks few messages at once, and all in the end', async () => {
    const inflater = new Inflater(plain.length);
    const bytes = gzipSync(plain);
    let begun = 0;
    let done = 0;
    let most = 0;
    for (let at = 0; at < 20; at += 1) {
      inflater.add({
        bytes,
        isWanted: () => {
          begun += 1;
          most = Math.max(most, begun - done);
          return true;
        },
        onDone: (error, unpacked) => {
          done += 1;
          expect([error, unpacked.equals(plain)]).toEqual([null, true]);
        },
      });
    }
    expect(inflater.size).toBe(20);
    await until(() => done === 20);
    expect(most).toBe(inflationsMax);
    expect(inflater.size).toBe(0);
  });

  test('passes over what nobody wants any more', async () => {
    const inflater = new Inflater(plain.length);
    const done: number[] = [];
    for (let at = 0; at < 10; at += 1) {
      inflater.add({ bytes: gzipSync(plain), isWanted: () => at % 2 === 0, onDone: () => done.push(at) });
    }
    await until(() => done.length === 5);
    expect(done.toSorted()).toEqual([0, 2, 4, 6, 8]);
  });

  test('stops at a message that gets larger than may be', async () => {
    const inflater = new Inflater(plain.length - 1);
    const failed = await new Promise<Error | null>((resolve) => {
      inflater.add({ bytes: gzipSync(plain), isWanted: () => true, onDone: resolve });
    });
    expect(failed).toMatchObject({ code: 'ERR_BUFFER_TOO_LARGE' });
  });
});

describe('isDeflated', () => {
  test.each([
    ['gzip', gzipSync(plain), true],
    ['zlib', deflateSync(plain), true],
    ['zlib, hardly packed', deflateSync(plain, { level: 1 }), true],
    ['plain words', plain, false],
    ['nothing', Buffer.alloc(0), false],
  ])('knows %s', (_name, bytes, is) => {
    expect(isDeflated(bytes)).toBe(is);
  });
});
