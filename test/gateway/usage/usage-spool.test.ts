import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { UsageShipper } from '../../../gateway/usage/usage-shipper.ts';
import type { ShipperOptions } from '../../../gateway/usage/usage-shipper.ts';
import { UsageSpool, defaultSpoolLimits } from '../../../gateway/usage/usage-spool.ts';
import { startSmallDisk, withSmallDisk } from '../../fixtures/budget/small-disk.ts';
import { until } from '../../fixtures/gateway/control-api.ts';

const logger = pino({ level: 'silent' });
const limits = { ...defaultSpoolLimits, flushMs: 1 };

let folder: string;
let spools: UsageSpool[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'muster-spool-'));
  spools = [];
});
afterEach(() => {
  for (const spool of spools) spool.close();
  rmSync(folder, { recursive: true, force: true });
});

const open = (gateway: string, more: Partial<typeof limits> = {}, at = folder): UsageSpool => {
  const spool = new UsageSpool(at, gateway, logger, { ...limits, ...more });
  spools.push(spool);
  return spool;
};
const files = (at = folder) => readdirSync(at).filter((name) => name.endsWith('.usage'));

const shipperOf = (spool: UsageSpool, post: ShipperOptions['post'], everyMs = 5): UsageShipper =>
  new UsageShipper(spool, { gatewayId: 'g', logger, everyMs, shares: () => [], post });

/** Reads all that there is. */
async function drain(
  spool: UsageSpool,
  bytesMax = 4_096,
): Promise<{ gateway: string; seq: number; n: number }[]> {
  const found: { gateway: string; seq: number; n: number }[] = [];
  for (let part = await spool.next(bytesMax); part !== null; part = await spool.next(bytesMax)) {
    const records = JSON.parse(`[${part.records}]`) as { seq: number; n: number }[];
    expect(part.count).toBe(records.length);
    for (const record of records) found.push({ gateway: part.gateway, ...record });
    part.done();
  }
  return found;
}

/** Does something between a read of a file and what follows it. */
async function afterNextRead(path: string, act: () => void): Promise<() => void> {
  const handle = await openFile(path);
  const prototype = Object.getPrototypeOf(handle) as { read: FileHandle['read'] };
  await handle.close();
  const { read } = prototype;
  const restore = () => {
    prototype.read = read;
  };
  prototype.read = async function (this: FileHandle, ...args: Parameters<FileHandle['read']>) {
    restore();
    const result = await read.apply(this, args);
    act();
    return result;
  };
  return restore;
}

/** As left behind by a process that was killed. */
function orphan(name: string, to: string): void {
  cpSync(join(folder, name), join(to, name.replace(/^\d+\.[^.]*/, '999999999.1')));
}

describe('the spool of usage records', () => {
  test('gives records in their order, numbered, once they are sent not again', async () => {
    const spool = open('g');
    for (let n = 1; n <= 3; n += 1) spool.add(`"n":${n}`);
    spool.flush();
    expect(await drain(spool)).toEqual([1, 2, 3].map((n) => ({ gateway: 'g', seq: n, n })));
    spool.add('"n":4');
    spool.flush();
    expect(await drain(spool)).toEqual([{ gateway: 'g', seq: 4, n: 4 }]);
  });

  test('writes by itself after a moment', async () => {
    const spool = open('g');
    spool.add('"n":1');
    expect(spool.pendingCount).toBe(1);
    await until(() => spool.pendingCount === 0);
    expect(await drain(spool)).toHaveLength(1);
  });

  test('gives again what was read but not taken', async () => {
    const spool = open('g');
    spool.add('"n":1');
    spool.flush();
    const part = await spool.next(4_096);
    expect(part).toMatchObject({ records: '{"seq":1,"n":1}', count: 1 });
    expect((await spool.next(4_096))?.records).toEqual(part?.records);
  });

  test('begins new files and removes those that are sent', async () => {
    const spool = open('g', { fileBytesMax: 200 });
    for (let n = 1; n <= 40; n += 1) {
      spool.add(`"n":${n}`);
      spool.flush();
    }
    expect(files().length).toBeGreaterThan(3);
    expect((await drain(spool)).map(({ n }) => n)).toEqual(Array.from({ length: 40 }, (_, at) => at + 1));
    expect(files().length).toBeLessThanOrEqual(1);
  });

  test('keeps a file whose last line is written, and which is closed, while it is read', async () => {
    const spool = open('g', { fileBytesMax: 100, flushMs: 60_000 });
    spool.add('"n":1');
    spool.flush();
    (await spool.next(4_096))?.done();
    const restore = await afterNextRead(join(folder, files()[0]!), () => {
      spool.add(`"n":2,"text":"${'x'.repeat(100)}"`);
      spool.flush();
    });
    try {
      expect(await spool.next(4_096)).toBeNull();
    } finally {
      restore();
    }
    expect((await drain(spool)).map(({ n }) => n)).toEqual([2]);
    expect(files()).toEqual([]);
  });

  test('writes no line that is longer than what is read at a time, though its records are', async () => {
    const spool = open('g');
    const long = 'é'.repeat(5_000);
    for (let n = 1; n <= 300; n += 1) spool.add(`"n":${n},"text":"${long}"`);
    spool.flush();
    const lines = files().flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n'));
    expect(Math.max(...lines.map((line) => Buffer.byteLength(line)))).toBeLessThan(512 * 1024);
    expect((await drain(spool, 1024 * 1024)).map(({ n }) => n)).toEqual(
      Array.from({ length: 300 }, (_, at) => at + 1),
    );
  });

  test.each([
    ['a file that is still written', {}],
    ['whole files', { fileBytesMax: 1 }],
    ['a whole file and another', { fileBytesMax: 26_000 }],
  ])('reads a line that is longer than what is read at a time, in %s', async (_, more) => {
    const spool = open('g', more);
    const lengths = [1, 4_095, 20_000, 1, 4_200, 1];
    for (const [at, length] of lengths.entries()) {
      spool.add(`"n":${at},"text":"${'x'.repeat(length)}"`);
      spool.flush();
    }
    expect((await drain(spool)).map(({ n }) => n)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(spool.damaged).toBe(0);
  });

  test('removes half a line that is longer than what is read at a time', async () => {
    const spool = open('g');
    spool.add(`"n":1,"text":"${'x'.repeat(20_000)}"`);
    spool.flush();
    const [name] = files();
    const at = mkdtempSync(join(folder, 'cut-'));
    const cut = readFileSync(join(folder, name!)).subarray(0, 15_000);
    writeFileSync(join(at, name!.replace(/^\d+\.[^.]*/, '999999999.1')), cut);
    const finder = open('finder', {}, at);
    expect(await drain(finder)).toEqual([]);
    expect(files(at)).toEqual([]);
    expect(finder.damaged).toBe(1);
  });

  test('sends what a killed process left behind, under the name of that process, and leaves the living alone', async () => {
    const elsewhere = mkdtempSync(join(tmpdir(), 'muster-spool-'));
    const dead = open('dead/one %');
    dead.add('"n":1');
    dead.flush();
    orphan(files()[0]!, elsewhere);
    const living = open('living', {}, elsewhere);
    living.add('"n":2');
    living.flush();
    const finder = open('finder', {}, elsewhere);
    expect(await drain(finder)).toEqual([{ gateway: 'dead/one %', seq: 1, n: 1 }]);
    expect(files(elsewhere)).toHaveLength(1);
    rmSync(elsewhere, { recursive: true });
  });

  test('cut at any byte gives whole batches alone, and the file is removed', async () => {
    const spool = open('g');
    for (let n = 1; n <= 4; n += 1) {
      spool.add(`"n":${n}`);
      spool.flush();
    }
    const [name] = files();
    const bytes = readFileSync(join(folder, name!));
    const lengths: number[] = [];
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const at = mkdtempSync(join(folder, 'cut-'));
      writeFileSync(join(at, name!.replace(/^\d+\.[^.]*/, '999999999.1')), bytes.subarray(0, cut));
      const found = await drain(open('finder', {}, at));
      expect(found.map(({ n }) => n)).toEqual([1, 2, 3, 4].slice(0, found.length));
      expect(files(at)).toEqual([]);
      lengths.push(found.length);
    }
    expect([...new Set(lengths)]).toEqual([0, 1, 2, 3, 4]);
  });

  test('leaves out a line that somebody changed', async () => {
    const spool = open('g');
    for (const n of [1, 2]) {
      spool.add(`"n":${n}`);
      spool.flush();
    }
    const path = join(folder, files()[0]!);
    writeFileSync(path, readFileSync(path, 'utf8').replace('"n":1', '"n":9'));
    expect((await drain(spool)).map(({ n }) => n)).toEqual([2]);
    expect(spool.damaged).toBe(1);
  });

  withSmallDisk(
    'keeps records in memory while the disk is full, a bounded number, and writes them later',
    async () => {
      const disk = startSmallDisk();
      try {
        const spool = open('g', { pendingMax: 50 }, disk.folder);
        spool.add('"n":1');
        spool.flush();
        disk.fill();
        for (let n = 2; n <= 400; n += 1) {
          spool.add(`"n":${n}`);
          spool.flush();
        }
        expect(spool.writeFailures).toBeGreaterThan(0);
        expect(spool.pendingCount).toBeLessThanOrEqual(50);
        const { dropped } = spool;
        disk.free();
        spool.flush();
        expect(spool.pendingCount).toBe(0);
        const found = await drain(spool);
        expect(found).toHaveLength(400 - dropped);
        expect(new Set(found.map(({ seq }) => seq)).size).toBe(found.length);
        expect(found.at(-1)?.n).toBe(400);
      } finally {
        disk.close();
      }
    },
  );
});

describe('the way to the ledger', () => {
  test('is tried until the ledger has taken the records', async () => {
    const spool = open('g');
    let failures = 3;
    const taken: unknown[] = [];
    const shipper = shipperOf(spool, (_path, text) => {
      failures -= 1;
      if (failures >= 0) return Promise.reject(new Error('away'));
      taken.push(JSON.parse(text));
      return Promise.resolve('taken');
    });
    shipper.start();
    const model = '{"seq":7}';
    spool.add('"n":1');
    spool.add(`"model":${JSON.stringify(model)}`);
    await until(() => shipper.shipped > 0);
    await shipper.close();
    expect(shipper.shipped).toBe(2);
    expect(taken).toEqual([
      {
        gateway: 'g',
        records: [
          { seq: 1, n: 1 },
          { seq: 2, model },
        ],
        shares: [],
      },
    ]);
  });

  test('is not held up by records that the ledger refuses', async () => {
    const spool = open('g', { fileBytesMax: 1 });
    const shipper = shipperOf(spool, (_path, text) =>
      Promise.resolve(text.includes('"bad"') ? 'refused' : 'taken'),
    );
    for (const n of ['"bad"', '2']) {
      spool.add(`"n":${n}`);
      spool.flush();
    }
    shipper.start();
    await until(() => shipper.shipped === 1);
    expect(shipper.refused).toBe(1);
    await shipper.close();
  });

  test('is not held up by a record that is no JSON, and loses no other', async () => {
    const spool = open('g');
    const taken: number[] = [];
    const shipper = shipperOf(spool, (_path, text) => {
      if (text.includes('NaN')) return Promise.resolve('refused');
      const { records } = JSON.parse(text) as { records: { n: number }[] };
      taken.push(...records.map(({ n }) => n));
      return Promise.resolve('taken');
    });
    for (const n of [1, 2, NaN, 4, 5]) spool.add(`"n":${n},"model":${JSON.stringify(',{"seq":1}')}`);
    shipper.start();
    await until(() => shipper.shipped > 0);
    await shipper.close();
    expect([taken, shipper.shipped, shipper.refused]).toEqual([[1, 2, 4, 5], 4, 1]);
  });

  test('loses none but the records that the ledger refuses, in their order and once each', async () => {
    const spool = open('g');
    const taken: number[] = [];
    const bad = new Set([1, 7, 250, 251, 500]);
    let posts = 0;
    const shipper = shipperOf(spool, (_path, text) => {
      posts += 1;
      if (posts === 12) return Promise.reject(new Error('away')); // in the middle of it
      const { records } = JSON.parse(text) as { records: { seq: number }[] };
      if (records.some(({ seq }) => bad.has(seq))) return Promise.resolve('refused');
      taken.push(...records.map(({ seq }) => seq));
      return Promise.resolve('taken');
    });
    for (let n = 1; n <= 500; n += 1) spool.add(`"n":${n}`);
    spool.flush();
    shipper.start();
    await until(() => shipper.shipped > 0);
    await shipper.close();
    const good = Array.from({ length: 500 }, (_, at) => at + 1).filter((seq) => !bad.has(seq));
    // What was taken before the ledger was away is sent again, under the same numbers.
    expect([...new Set(taken)]).toEqual(good);
    expect([shipper.shipped, shipper.refused]).toEqual([good.length, bad.size]);
    expect(posts).toBeLessThan(150);
  });

  test('ends by sending what is left', async () => {
    const spool = open('g');
    const shipper = shipperOf(spool, () => Promise.resolve('taken'), 60_000);
    shipper.start();
    spool.add('"n":1');
    await shipper.close();
    expect(shipper.shipped).toBe(1);
    expect(files()).toEqual([]);
  });
});
