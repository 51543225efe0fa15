import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { writeSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { followLog } from '../../../../activities/local/replica/follow-log.ts';
import {
  closeLog,
  listLogs,
  logPath,
  openLog,
  pruneLogs,
  rotateLog,
  tailLog,
} from '../../../../activities/local/replica/log-file.ts';
import { eventually } from '../../../fixtures/agent/waiting.ts';

let folder: string;
let path: string;
const key = { namespace: 'default', name: 'iris', revision: 'iris-predictor-00001' };

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-log-'));
  path = logPath(folder, key, 0);
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe('a replica log', () => {
  test('is rotated while its writer holds it open, two old ones are kept, and no line is lost', async () => {
    const fd = openLog(path);
    for (const round of ['first', 'second', 'third', 'fourth']) {
      writeSync(fd, `${round}\n`.repeat(10));
      expect(await rotateLog(path, 20)).toBe(true);
    }
    writeSync(fd, 'now\n');
    expect(await rotateLog(path, 20)).toBe(false);
    closeLog(fd);
    expect(await readFile(path, 'utf8')).toBe('now\n');
    expect(await readFile(`${path}.1`, 'utf8')).toContain('fourth');
    expect(await readFile(`${path}.2`, 'utf8')).toContain('third');
    expect((await readdir(join(path, '..'))).length).toBe(3);
    expect(await rotateLog(join(folder, 'none.log'), 20)).toBe(false);
  });

  test('can be read by its owner alone', async () => {
    closeLog(openLog(path));
    expect((await stat(path)).mode & 0o077).toBe(0);
  });

  test('gives its last lines, whole, within the bytes', async () => {
    closeLog(openLog(path));
    expect(await tailLog(path, 5, 1_000)).toBe('');
    await writeFile(path, 'one\ntwo\nthree\nfour');
    expect(await tailLog(path, 2, 1_000)).toBe('three\nfour');
    expect(await tailLog(path, 9, 1_000)).toBe('one\ntwo\nthree\nfour');
    expect(await tailLog(path, 9, 7)).toBe('four');
    expect(await tailLog(path, 0, 100)).toBe('');
    expect(await tailLog(join(folder, 'none'), 5, 100)).toBe('');
  });

  test('is listed newest revision first, then by index, without its old parts', async () => {
    for (const [revision, index] of [
      ['iris-predictor-00001', 1],
      ['iris-predictor-00001', 0],
      ['iris-predictor-00002', 0],
    ] as const) {
      closeLog(openLog(logPath(folder, { ...key, revision }, index)));
    }
    await writeFile(`${path}.1`, 'old');
    const logs = await listLogs(folder, 'default', 'iris');
    expect(logs.map((l) => `${l.revision} ${String(l.index)}`)).toEqual([
      'iris-predictor-00002 0',
      'iris-predictor-00001 0',
      'iris-predictor-00001 1',
    ]);
    expect(await listLogs(folder, 'default', 'none')).toEqual([]);
  });

  test('is pruned a week after its last line, unless its revision is wanted', async () => {
    const other = logPath(folder, { ...key, revision: 'iris-predictor-00002' }, 0);
    const fresh = logPath(folder, { ...key, name: 'fresh' }, 0);
    for (const file of [path, other, fresh]) closeLog(openLog(file));
    for (const file of [path, other]) await utimes(file, 1, 1);
    await pruneLogs(folder, Date.now(), [key]);
    expect((await listLogs(folder, 'default', 'iris')).map((l) => l.revision)).toEqual([key.revision]);
    expect(await listLogs(folder, 'default', 'fresh')).toHaveLength(1);
    await pruneLogs(join(folder, 'none'), 0, []);
  });

  test('is followed from its tail on, over a truncation, until the reader leaves', async () => {
    await mkdir(join(path, '..'), { recursive: true });
    await writeFile(path, 'old\nlast\n');
    const stop = new AbortController();
    let seen = '';
    const reading = (async () => {
      for await (const chunk of followLog(path, { tail: 1, tailBytes: 100, signal: stop.signal })) {
        seen += chunk.toString();
      }
    })();
    await eventually('the tail', () => seen === 'last\n');
    const fd = openLog(path);
    writeSync(fd, 'new\n');
    await eventually('a new line', () => seen === 'last\nnew\n');
    await truncate(path, 0);
    await new Promise((resolve) => setTimeout(resolve, 500));
    writeSync(fd, 'again\n');
    await eventually('a line after the cut', () => seen === 'last\nnew\nagain\n');
    closeLog(fd);
    stop.abort();
    await reading;
  });
});
