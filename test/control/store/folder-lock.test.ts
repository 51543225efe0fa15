import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lockFolder } from '../../../control/store/folder-lock.ts';
import { openStore } from '../../../control/store/store.ts';

let folder: string;
const children: ChildProcess[] = [];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-lock-'));
});
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await rm(folder, { recursive: true, force: true });
});

/** Another process that does something with the store's modules and then waits to be killed. */
async function elsewhere(code: string): Promise<ChildProcess> {
  const modules = fileURLToPath(new URL('../../../control/store/', import.meta.url));
  const child = spawn(
    process.execPath,
    ['--input-type=module', '-e', `${code}; console.log('done'); setInterval(() => {}, 1000);`],
    { cwd: modules, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  children.push(child);
  await once(child.stdout, 'data');
  return child;
}

async function killHard(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  await once(child, 'exit');
}

describe('lockFolder', () => {
  test('is held by one, and free again when released', () => {
    const path = join(folder, 'one.lock');
    const lock = lockFolder(path);
    expect(() => lockFolder(path)).toThrow(/in use by process \d+ .*muster down/);
    lock.release();
    lockFolder(path).release();
  });

  test('is refused while another process lives, and taken over after kill -9', async () => {
    const path = join(folder, 'two.lock');
    const code = `import { lockFolder } from './folder-lock.ts'; lockFolder(${JSON.stringify(path)})`;
    const child = await elsewhere(code);
    expect(() => lockFolder(path)).toThrow(`in use by process ${child.pid ?? 0} `);
    await killHard(child);
    lockFolder(path).release();
  });

  test('is taken over when another program has the pid of a dead owner', async () => {
    const path = join(folder, 'three.lock');
    lockFolder(path);
    const owner = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
    await writeFile(path, JSON.stringify({ ...owner, started: 'before the last boot' }));
    const lock = lockFolder(path);
    expect(JSON.parse(await readFile(path, 'utf8'))).toMatchObject({ pid: process.pid });
    lock.release();
  });
});

test('a store whose process was killed in the middle of its writes opens again with what it had', async () => {
  const store = join(folder, 'store');
  const child = await elsewhere(
    `import { openStore } from './store.ts';
     const store = await openStore({ folder: ${JSON.stringify(store)} });
     const write = (version) => store.routing.saveVersion({ version, contentHash: 'hash' + version });
     for (let version = 1; version <= 50; version++) await write(version);
     void (async () => { for (let version = 51; ; version++) await write(version); })()`,
  );
  await killHard(child);
  const again = await openStore({ folder: store });
  const { version, contentHash } = await again.routing.version();
  await again.close();
  expect(version).toBeGreaterThanOrEqual(50);
  expect(contentHash).toBe(`hash${version}`);
});

describe('openStore', () => {
  test('says plainly that a store cannot be opened, and gives its lock back', async () => {
    const file = join(folder, 'not-a-folder');
    await writeFile(file, 'text');
    await expect(openStore({ folder: file })).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringMatching(/cannot be opened .* move the folder away/),
    });
    await expect(readFile(`${file}.lock`)).rejects.toThrow(/ENOENT/);
  });

  test('says plainly that the database of the settings cannot be opened', async () => {
    const databaseUrl = 'postgres://nobody@127.0.0.1:1/none';
    await expect(openStore({ folder: '', databaseUrl })).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringMatching(/MUSTER_DATABASE_URL/),
    });
  });
});
