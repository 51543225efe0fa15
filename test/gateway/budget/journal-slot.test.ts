import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { claimSlot } from '../../../gateway/budget/journal-slot.ts';
import type { Claiming } from '../../fixtures/budget/claimer.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'muster-slot-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const nobody = '999999999 1';
const lock = (slot: number) => `leases-${slot}.lock`;

describe('slots of budget journals', () => {
  test.each([
    ['there are none yet', () => undefined],
    [
      'all that were there are dead',
      (at: string) => [0, 1, 2, 3].forEach((n) => writeFileSync(join(at, lock(n)), nobody)),
    ],
    ['one that was there is dead', (at: string) => writeFileSync(join(at, lock(0)), nobody)],
    ['a lock is empty', (at: string) => writeFileSync(join(at, lock(1)), '')],
  ])('are taken by one each, also by those that begin together, when %s', async (_when, prepare) => {
    const folders = Array.from({ length: 80 }, (_, at) => join(folder, String(at)));
    for (const each of folders) {
      mkdirSync(each);
      prepare(each);
    }
    const threads = 4;
    const gates = new Int32Array(new SharedArrayBuffer(4 * folders.length));
    const workerData: Claiming = { folders, threads, gates };
    const file = new URL('../../fixtures/budget/claimer.ts', import.meta.url);
    const taken = await Promise.all(
      Array.from({ length: threads }, async () => {
        const [names] = (await once(new Worker(file, { workerData }), 'message')) as [string[]];
        return names;
      }),
    );
    for (const [at, each] of folders.entries()) {
      const names = taken.map((all) => all[at]);
      expect(names.sort()).toEqual([0, 1, 2, 3].map((slot) => `leases-${slot}.journal`));
      expect(readdirSync(each).sort()).toEqual([0, 1, 2, 3].map(lock));
    }
  });

  test('leave nothing behind, also when somebody took their lock away', () => {
    const [first, second] = [claimSlot(folder), claimSlot(folder)];
    rmSync(join(folder, lock(0)));
    first.release();
    second.release();
    second.release();
    expect(readdirSync(folder)).toEqual([]);
  });

  test('give back no lock but their own', () => {
    const first = claimSlot(folder);
    writeFileSync(join(folder, lock(0)), nobody);
    const second = claimSlot(folder);
    expect(second.name).toBe(first.name);
    first.release();
    expect(claimSlot(folder).name).toBe('leases-1.journal');
  });

  test('are not taken for in use where the folder cannot be written', () => {
    expect(() => claimSlot(join(folder, 'nowhere'))).toThrow('ENOENT');
  });
});
