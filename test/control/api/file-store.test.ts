import { readdirSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect } from '@jest/globals';
import { fileBytes } from '../../../control/api/batches/file-store.ts';
import { startSmallDisk, withSmallDisk } from '../../fixtures/budget/small-disk.ts';
import type { SmallDisk } from '../../fixtures/budget/small-disk.ts';

let disk: SmallDisk;
beforeEach(() => {
  disk = startSmallDisk();
});
afterEach(() => {
  disk.close();
});

async function* parts(...sizes: number[]): AsyncGenerator<Buffer> {
  for (const size of sizes) yield await Promise.resolve(Buffer.alloc(size, 'x'));
}

describe('a file', () => {
  withSmallDisk(
    'is there whole or not at all, also when the disk takes only the begin of its last piece',
    async () => {
      const store = fileBytes(disk.folder);
      await expect(store.put('file-a', parts(1_000, 300_000), 1e9)).rejects.toMatchObject({
        code: 'disk_full',
      });
      expect(readdirSync(disk.folder)).toEqual([]);
      expect(await store.put('file-b', parts(1_000, 50_000), 1e9)).toBe(51_000);
    },
  );
});
