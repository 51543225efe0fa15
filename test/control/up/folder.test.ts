import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { acquireLock, readLock, releaseLock } from '../../../control/up/lock.ts';
import { checkPorts } from '../../../control/up/ports.ts';
import { dataFormat, prepareFolder } from '../../../control/up/prepare-folder.ts';
import { identify, isAlive } from '../../../control/up/process-identity.ts';
import type { runProgram } from '../../../control/up/run-program.ts';
import { findTemporal } from '../../../control/up/temporal-server.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'muster-up-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe('the data folder', () => {
  test('is made for its user alone, with two tokens that a second start keeps', () => {
    const root = join(folder, 'data');
    const made = prepareFolder(root, '1.0.0');
    expect(statSync(root).mode & 0o777).toBe(0o700);
    for (const token of [made.token, made.internalToken]) {
      expect(statSync(token).mode & 0o777).toBe(0o600);
      expect(readFileSync(token, 'utf8')).toMatch(/^[0-9a-f]{64}$/);
    }
    expect(readFileSync(made.token, 'utf8')).not.toBe(readFileSync(made.internalToken, 'utf8'));
    const before = readFileSync(made.token, 'utf8');
    prepareFolder(root, '1.1.0');
    expect(readFileSync(made.token, 'utf8')).toBe(before);
    expect(readdirSync(root).filter((name) => name.startsWith('token'))).toEqual(['token']);
  });

  test('of a newer Muster is refused, of an older one taken over', () => {
    prepareFolder(folder, '1.0.0');
    writeFileSync(join(folder, 'version'), JSON.stringify({ dataFormat: dataFormat + 1, muster: '9.0.0' }));
    expect(() => prepareFolder(folder, '1.0.0')).toThrow(/made by a newer Muster \(9\.0\.0/);
    writeFileSync(join(folder, 'version'), JSON.stringify({ dataFormat, muster: '0.0.1' }));
    prepareFolder(folder, '1.0.0');
    expect(readFileSync(join(folder, 'version'), 'utf8')).toContain('1.0.0');
  });

  test('that cannot be made is said to be one, with what to set', () => {
    writeFileSync(join(folder, 'file'), '');
    expect(() => prepareFolder(join(folder, 'file', 'data'), '1.0.0')).toThrow(/Set MUSTER_DATA_DIR/);
  });
});

describe('the lock of the data folder', () => {
  const self = identify(process.pid)!;
  const now = new Date('2026-01-01T00:00:00Z');

  test('is held by one, who gives it back', () => {
    const file = join(folder, 'run', 'parent.json');
    mkdirSync(join(folder, 'run'));
    const owner = acquireLock(file, self, now);
    expect(() => acquireLock(file, self, now)).toThrow(/already running on .*process \d+/);
    releaseLock(file, owner);
    expect(readLock(file)).toBeNull();
    releaseLock(file, acquireLock(file, self, now));
    expect(readdirSync(join(folder, 'run'))).toEqual([]);
  });

  test('of a dead process is taken over, also when its pid belongs to another now', () => {
    const file = join(folder, 'parent.json');
    writeFileSync(
      file,
      JSON.stringify({ pid: process.pid, started: 'another boot', nonce: 'n', since: 'then' }),
    );
    const owner = acquireLock(file, self, now);
    expect(readLock(file)).toEqual(owner);
  });

  test('of a dead process goes to one of many that want it at the same moment', async () => {
    const file = join(folder, 'parent.json');
    writeFileSync(file, JSON.stringify({ pid: 999_999_999, started: 'never', nonce: 'dead', since: 'then' }));
    const code = `
      import { acquireLock } from ${JSON.stringify(new URL('../../../control/up/lock.ts', import.meta.url).href)};
      import { identify } from ${JSON.stringify(new URL('../../../control/up/process-identity.ts', import.meta.url).href)};
      try { acquireLock(${JSON.stringify(file)}, identify(process.pid), new Date()); console.log('won'); await new Promise((r) => setTimeout(r, 3000)); }
      catch { console.log('lost'); }`;
    const starters = Array.from({ length: 6 }, () =>
      spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'ignore'] }),
    );
    const said = await Promise.all(
      starters.map(async (child) => {
        const [chunk] = (await once(child.stdout, 'data')) as [Buffer];
        return chunk.toString().trim();
      }),
    );
    for (const child of starters) child.kill('SIGKILL');
    expect(said.filter((word) => word === 'won')).toHaveLength(1);
  });
});

describe('ports', () => {
  test('in use are named with their variable and who holds them, all at once', async () => {
    const servers = [createServer().listen(0, '127.0.0.1'), createServer().listen(0, '127.0.0.1')];
    await Promise.all(servers.map((server) => once(server, 'listening')));
    const [one, two] = servers.map((server) => (server.address() as AddressInfo).port);
    const wanted = [
      { process: 'gateway', variable: 'MUSTER_GATEWAY_PORT', port: one! },
      { process: 'control API', variable: 'MUSTER_API_PORT', port: two! },
    ];
    await expect(checkPorts('127.0.0.1', wanted)).rejects.toMatchObject({
      code: 'port_in_use',
      message: expect.stringMatching(
        new RegExp(
          `Port ${one}, wanted for the gateway, is in use by .*process ${process.pid}.*MUSTER_API_PORT`,
        ),
      ) as unknown,
    });
    for (const server of servers) server.close();
    await Promise.all(servers.map((server) => once(server, 'close')));
    await expect(checkPorts('127.0.0.1', wanted)).resolves.toBeUndefined();
  });

  test('wanted twice are refused', async () => {
    const wanted = ['A', 'B'].map((variable) => ({ process: variable, variable, port: 1234 }));
    await expect(checkPorts('127.0.0.1', wanted)).rejects.toThrow(
      'Port 1234 is wanted twice. Give B another port.',
    );
  });
});

describe('a process is known by pid and start time', () => {
  test('and is no more once it was killed', async () => {
    const child = spawn('sleep', ['60'], { stdio: 'ignore' });
    await once(child, 'spawn');
    const identity = identify(child.pid!)!;
    expect(isAlive(identity)).toBe(true);
    expect(isAlive({ ...identity, started: 'else' })).toBe(false);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(isAlive(identity)).toBe(false);
  });
});

describe('the Temporal server is found', () => {
  function program(path: string, version: string): string {
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, `#!/bin/sh\necho "temporal version ${version} (Server 1.0)"\n`, { mode: 0o755 });
    return path;
  }
  const search = (path: string, programs: string) => ({ path, programs, say: () => undefined });

  test('on the PATH first', async () => {
    const onPath = program(join(folder, 'bin', 'temporal'), '1.9.1');
    program(join(folder, 'programs', 'temporal'), '1.8.0');
    const found = await findTemporal(search(`/nowhere:${join(folder, 'bin')}`, join(folder, 'programs')));
    expect(found).toEqual({ path: onPath, version: '1.9.1' });
  });

  test("in Muster's cache when that on the PATH is too old, or is something else", async () => {
    program(join(folder, 'old', 'temporal'), '1.2.0');
    mkdirSync(join(folder, 'other'));
    writeFileSync(join(folder, 'other', 'temporal'), '#!/bin/sh\necho a clock\n', { mode: 0o755 });
    const cached = program(join(folder, 'programs', 'temporal'), '1.5.0');
    const found = await findTemporal(search(`${folder}/old:${folder}/other`, join(folder, 'programs')));
    expect(found.path).toBe(cached);
  });

  test('nowhere: what was tried is listed, and what to do', async () => {
    const run: typeof runProgram = () =>
      Promise.resolve({ ok: false, stdout: '', failure: 'is not installed' });
    await expect(findTemporal({ ...search('', join(folder, 'programs')), run })).rejects.toMatchObject({
      code: 'environment_missing',
      message: expect.stringMatching(
        /not on the PATH; .*does not exist; python3 is not installed.*SDK's own download.*TEMPORAL_ADDRESS/s,
      ) as unknown,
    });
    expect(readdirSync(join(folder, 'programs'))).toEqual([]);
  });
});
