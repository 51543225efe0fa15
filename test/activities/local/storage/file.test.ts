import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  appendFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from 'tar';
import { zipOf } from '../../../fixtures/agent/archives.ts';
import { modelsIn, treeOf, type Fetching } from '../../../fixtures/agent/models.ts';

let folder: string;
let source: string;
let it: Fetching;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-file-'));
  source = join(folder, 'source');
  await mkdir(join(source, 'sub'), { recursive: true });
  await writeFile(join(source, 'model.bin'), 'weights');
  await writeFile(join(source, 'sub', 'config.json'), '{}');
  it = modelsIn(folder);
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function partials(): Promise<string[]> {
  return await readdir(join(folder, 'models', '.partial')).catch(() => []);
}

describe('models from files', () => {
  test('are copied, so that an edit of the source never reaches what a server has open', async () => {
    const first = await it.fetch(`file://${source}`);
    expect(await treeOf(first.modelDir)).toEqual({ 'model.bin': 'weights', 'sub/config.json': '{}' });
    expect(first.bytes).toBe(9);
    await writeFile(join(source, 'model.bin'), 'edited!');
    expect((await treeOf(first.modelDir))['model.bin']).toBe('weights');
    const second = await it.fetch(`file://${source}`);
    expect(second.modelDir).not.toBe(first.modelDir);
    expect((await treeOf(second.modelDir))['model.bin']).toBe('edited!');
    expect(second.digest).not.toBe(first.digest);
    expect((await treeOf(first.modelDir))['model.bin']).toBe('weights');
    expect(await partials()).toEqual([]);
  });

  test('that did not change are the same folder again, also by plain path and relative to the root', async () => {
    const first = await it.fetch(source);
    expect(await it.fetch(source)).toEqual(first);
    expect((await it.fetch('file://source')).digest).toBe(first.digest);
  });

  test('that were cut or tampered with on disk are fetched anew', async () => {
    const { modelDir } = await it.fetch(source);
    await truncate(join(modelDir, 'model.bin'), 3);
    const again = await it.fetch(source);
    expect((await treeOf(again.modelDir))['model.bin']).toBe('weights');
    await writeFile(join(again.modelDir, 'model.bin'), 'WEIGHTS');
    expect((await treeOf((await it.fetch(source)).modelDir))['model.bin']).toBe('weights');
    await writeFile(join(again.modelDir, 'sub', 'injected.py'), 'evil');
    expect(Object.keys(await treeOf((await it.fetch(source)).modelDir))).toHaveLength(2);
  });

  test('whose time alone changed are hashed and kept', async () => {
    const { modelDir } = await it.fetch(source);
    await utimes(join(modelDir, 'model.bin'), 1, 1);
    expect((await it.fetch(source)).modelDir).toBe(modelDir);
    expect((await treeOf(modelDir))['model.bin']).toBe('weights');
  });

  test('follow links inside the folder and refuse those out of it', async () => {
    await symlink('model.bin', join(source, 'alias.bin'));
    expect((await treeOf((await it.fetch(source)).modelDir))['alias.bin']).toBe('weights');
    await writeFile(join(folder, 'secret'), 'secret');
    await symlink('../secret', join(source, 'out.bin'));
    await expect(it.fetch(source)).rejects.toMatchObject({ code: 'storage_forbidden' });
    await rm(join(source, 'out.bin'));
    await symlink('.', join(source, 'circle'));
    await expect(it.fetch(source)).rejects.toMatchObject({ code: 'storage_forbidden' });
    expect(await partials()).toEqual([]);
  });

  test.each([
    ['a path that does not exist', '/no/such/model', 'storage_not_found'],
    ['an unknown scheme', 's3://bucket/model', 'storage_not_supported'],
    ['a form that makes no sense', 'hf://one', 'invalid_manifest'],
  ])('refuse %s plainly', async (_, uri, code) => {
    await expect(it.fetch(uri)).rejects.toMatchObject({ code });
    expect(await partials()).toEqual([]);
  });

  test('refuse an empty folder', async () => {
    await mkdir(join(folder, 'empty'));
    await expect(it.fetch(join(folder, 'empty'))).rejects.toMatchObject({ code: 'storage_not_found' });
  });

  test('share one copy however many ask at once, and tell all of its progress', async () => {
    const results = await Promise.all(Array.from({ length: 8 }, () => it.fetch(source)));
    expect(new Set(results.map((r) => r.modelDir)).size).toBe(1);
    expect(it.progress.length).toBeGreaterThanOrEqual(8);
  });

  test('from several sources are put together in one folder', async () => {
    await writeFile(join(folder, 'tokenizer.json'), 'tok');
    const models = [
      { uri: source, path: '' },
      { uri: join(folder, 'tokenizer.json'), path: 'extra' },
    ];
    const caller = { signal: new AbortController().signal, onProgress: () => undefined };
    const first = await it.models.fetch(models, caller);
    expect(await treeOf(first.modelDir)).toEqual({
      'model.bin': 'weights',
      'sub/config.json': '{}',
      'extra/tokenizer.json': 'tok',
    });
    expect(await it.models.fetch(models, caller)).toEqual(first);
    const clash = [models[0]!, models[0]!];
    await expect(it.models.fetch(clash, caller)).rejects.toMatchObject({ code: 'invalid_manifest' });
    const out = [{ uri: source, path: '../x' }];
    await expect(it.models.fetch(out, caller)).rejects.toMatchObject({ code: 'invalid_manifest' });
    expect((await it.models.fetch([], caller)).bytes).toBe(0);
  });

  test('leave nothing of a killed run but what can be resumed', async () => {
    await it.store.staging('file:///killed');
    await it.store.clean(Date.now(), []);
    expect(await partials()).toEqual([]);
  });

  test('are removed when nobody used them for a week, unless a wanted revision still does', async () => {
    const first = await it.fetch(source);
    await writeFile(join(source, 'model.bin'), 'another');
    const second = await it.fetch(source);
    const inAWeek = Date.now() + 8 * 24 * 3_600_000;
    await it.store.clean(Date.now(), []);
    expect(Object.keys(await treeOf(second.modelDir))).toHaveLength(2);
    await it.store.clean(inAWeek, [first.modelDir]);
    expect(Object.keys(await treeOf(first.modelDir))).toHaveLength(2);
    await expect(readdir(second.modelDir)).rejects.toThrow();
    expect((await treeOf((await it.fetch(source)).modelDir))['model.bin']).toBe('another');
  });
});

describe('an archive that is the only file', () => {
  test('is unpacked: zip, tar and tar.gz', async () => {
    await writeFile(
      join(folder, 'm.zip'),
      zipOf([
        { name: 'a/', body: '' },
        { name: 'a/x', body: 'zipped' },
      ]),
    );
    await create({ file: join(folder, 'm.tar.gz'), gzip: true, cwd: source }, ['.']);
    await create({ file: join(folder, 'm.tar'), cwd: source }, ['model.bin', 'sub']);
    const files = { 'model.bin': 'weights', 'sub/config.json': '{}' };
    expect(await treeOf((await it.fetch(join(folder, 'm.zip'))).modelDir)).toEqual({ 'a/x': 'zipped' });
    expect(await treeOf((await it.fetch(join(folder, 'm.tar.gz'))).modelDir)).toEqual(files);
    expect(await treeOf((await it.fetch(join(folder, 'm.tar'))).modelDir)).toEqual(files);
  });

  test('beside another file stays as it is', async () => {
    await writeFile(join(source, 'm.zip'), zipOf([{ name: 'x', body: 'zipped' }]));
    expect(Object.keys(await treeOf((await it.fetch(source)).modelDir))).toContain('m.zip');
  });

  test.each([
    ['climbs out', [{ name: '../evil', body: 'x' }], 'storage_forbidden'],
    ['climbs out further in', [{ name: 'a/../../evil', body: 'x' }], 'storage_forbidden'],
    ['is absolute', [{ name: '/tmp/evil', body: 'x' }], 'storage_forbidden'],
    ['holds a link', [{ name: 'link', body: '/etc/passwd', mode: 0o120777 }], 'storage_forbidden'],
    ['lies about a size', [{ name: 'a', body: 'xxxxxxxx', statedSize: 1 }], 'storage_not_supported'],
    [
      'names a file twice',
      [
        { name: 'a', body: '1' },
        { name: 'a', body: '2' },
      ],
      'storage_not_supported',
    ],
    ['is too large', [{ name: 'a', body: 'y'.repeat(60_000) }], 'storage_forbidden'],
    [
      'has too many entries',
      Array.from({ length: 30 }, (_, n) => ({ name: `f${n}`, body: '' })),
      'storage_forbidden',
    ],
  ])('is refused when it %s', async (_, entries, code) => {
    const small = modelsIn(folder, {}, { maxBytes: 50_000, maxFiles: 20 });
    await writeFile(join(folder, 'bad.zip'), zipOf(entries));
    await expect(small.fetch(join(folder, 'bad.zip'))).rejects.toMatchObject({ code });
    expect(await partials()).toEqual([]);
    await expect(readFile(join(folder, 'evil'))).rejects.toThrow();
  });

  test('is refused when it is no archive at all, with the text of KServe', async () => {
    for (const name of ['bad.zip', 'bad.tar', 'bad.tar.gz']) {
      await writeFile(join(folder, name), 'this is no archive, whatever its name says; it is a sentence');
      await expect(it.fetch(join(folder, name))).rejects.toThrow(
        'Failed to unpack archive file. The file format is not valid.',
      );
    }
    await writeFile(join(folder, 'm.tar.xz'), 'x');
    await expect(it.fetch(join(folder, 'm.tar.xz'))).rejects.toMatchObject({ code: 'storage_not_supported' });
  });

  test('is refused when a tar holds a link', async () => {
    await symlink('/etc/passwd', join(source, 'link'));
    await create({ file: join(folder, 'm.tar'), cwd: source }, ['link', 'model.bin']);
    await expect(it.fetch(join(folder, 'm.tar'))).rejects.toMatchObject({ code: 'storage_forbidden' });
  });

  test('is refused when a tar is cut', async () => {
    await create({ file: join(folder, 'm.tar.gz'), gzip: true, cwd: source }, ['.']);
    await truncate(join(folder, 'm.tar.gz'), 60);
    await expect(it.fetch(join(folder, 'm.tar.gz'))).rejects.toMatchObject({ code: 'storage_not_supported' });
    await appendFile(join(folder, 'm.tar.gz'), 'garbage');
    await expect(it.fetch(join(folder, 'm.tar.gz'))).rejects.toMatchObject({ code: 'storage_not_supported' });
  });
});
