import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, readFile, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DefaultLogger } from '@temporalio/worker';
import { bundleWorkflows } from '../../workers/bundle.ts';

const logger = new DefaultLogger('ERROR');

describe('the workflow bundle', () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'muster-bundle-'));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });

  test('is made once for the same sources, and names its build by its content', async () => {
    const cache = join(folder, 'bundles');
    const made = await bundleWorkflows({ cache, logger });
    expect(made.buildId).toMatch(/^[0-9a-f]{12}$/);
    const [file] = await readdir(cache);
    expect(await readFile(join(cache, file!), 'utf8')).toBe(made.code);
    await writeFile(join(cache, file!), '/* kept */');
    expect((await bundleWorkflows({ cache, logger })).code).toBe('/* kept */');
  });

  test('keeps only the newest few, and does without a folder that it cannot write', async () => {
    const old = new Date('2020-01-01T00:00:00Z');
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) {
      await writeFile(join(folder, `${name}.js`), '');
      await utimes(join(folder, `${name}.js`), old, old);
    }
    await bundleWorkflows({ cache: folder, logger });
    expect(await readdir(folder)).toHaveLength(5);
    const blocked = join(folder, 'file');
    await writeFile(blocked, '');
    await expect(
      bundleWorkflows({ cache: blocked, logger: new DefaultLogger('ERROR', () => undefined) }),
    ).resolves.toBeDefined();
  });
});
