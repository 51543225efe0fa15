import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'muster-watchdog-'));
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  const config = {
    rootDir: folder,
    testMatch: ['**/*.test.mjs'],
    transform: {},
    setupFilesAfterEnv: [join(root, '.config/worker-file.mjs')],
    reporters: ['default', [join(root, '.config/watchdog.mjs'), { silenceMs: 8_000 }]],
  };
  writeFileSync(join(folder, 'jest.config.json'), JSON.stringify(config));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Runs the folder's own tests. @returns all that Jest said */
function runTests(): Promise<string> {
  const jest = join(root, 'node_modules/jest/bin/jest.js');
  const args = [
    jest,
    '-c',
    join(folder, 'jest.config.json'),
    '--maxWorkers=2',
    '--workerIdleMemoryLimit=1GB',
  ];
  const env = {
    ...process.env,
    NODE_OPTIONS: '--experimental-vm-modules',
    MUSTER_TEST_WORKERS: join(folder, 'workers'),
  };
  return new Promise((resolve) => {
    execFile(process.execPath, args, { env, cwd: folder }, (_error, stdout, stderr) => {
      resolve(stdout + stderr);
    });
  });
}

test('a test that never comes back is ended, named, and shown where it stands; the others run on', async () => {
  const begin = "import { test } from '@jest/globals';";
  const loop = `${begin}
    async function spinning() { for (;;) await Promise.resolve(); }
    test('spins', spinning);`;
  writeFileSync(join(folder, 'loop.test.mjs'), loop);
  writeFileSync(join(folder, 'good.test.mjs'), `${begin} test('is good', () => undefined);`);
  const said = await runTests();
  expect(said).toMatch(/HANGS {2}.*loop\.test\.mjs\n {2}Nothing was heard for 8 s of "spins"/);
  expect(said).toMatch(/ at spinning \(.*loop\.test\.mjs:2\)/);
  expect(said).toMatch(/FAIL .*loop\.test\.mjs/);
  expect(said).toMatch(/PASS .*good\.test\.mjs/);
}, 120_000);
