import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zipOf } from '../../../fixtures/agent/archives.ts';
import { FileServer } from '../../../fixtures/agent/file-server.ts';
import { modelsIn, treeOf, type Fetching } from '../../../fixtures/agent/models.ts';
import { eventually } from '../../../fixtures/agent/waiting.ts';
import { requirePart } from '../../../fixtures/require.ts';
import { sha256 } from '../../../../activities/local/storage/content.ts';

const whole = requirePart('/dev/full', existsSync('/dev/full'), 'only Linux has it');

let folder: string;
let server: FileServer;
let it: Fetching;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-http-'));
  server = new FileServer();
  await server.listen();
  it = modelsIn(folder);
});

afterEach(async () => {
  await server.close();
  await rm(folder, { recursive: true, force: true });
});

async function partials(): Promise<string[]> {
  return await readdir(join(folder, 'models', '.partial')).catch(() => []);
}

describe('models over HTTP', () => {
  test('are downloaded once, and asked for again only by their ETag', async () => {
    server.serve('/model.bin', 'weights', { etag: '"v1"' });
    const first = await it.fetch(`${server.url}/model.bin`);
    expect(await treeOf(first.modelDir)).toEqual({ 'model.bin': 'weights' });
    expect(it.progress.at(-2)).toEqual({ done: 7, total: 7, message: 'downloading model.bin' });
    expect(await it.fetch(`${server.url}/model.bin`)).toEqual(first);
    expect(server.requests.map((r) => r.headers['if-none-match'])).toEqual([undefined, '"v1"']);
    server.serve('/model.bin', 'changed', { etag: '"v2"' });
    const second = await it.fetch(`${server.url}/model.bin`);
    expect(await treeOf(second.modelDir)).toEqual({ 'model.bin': 'changed' });
    expect(await treeOf(first.modelDir)).toEqual({ 'model.bin': 'weights' });
  });

  test('that are cut are resumed where they ended, if the file is still the same', async () => {
    const body = 'x'.repeat(50_000) + 'y'.repeat(50_000);
    server.serve('/model.bin', body, { etag: '"v1"' });
    server.cuts = [30_000, 30_000];
    const { modelDir } = await it.fetch(`${server.url}/model.bin`);
    expect((await treeOf(modelDir))['model.bin']).toBe(body);
    const ranges = server.requests.map((r) => r.headers.range);
    expect(ranges[0]).toBeUndefined();
    expect(ranges.slice(1).every((range) => /^bytes=\d+-$/.test(range ?? ''))).toBe(true);
    expect(server.requests[1]?.headers['if-range']).toBe('"v1"');
  });

  test('that changed while they were cut start over', async () => {
    server.serve('/model.bin', 'a'.repeat(50_000), { etag: '"v1"' });
    server.cuts = [20_000];
    server.handler = (request) => {
      if (request.headers.range !== undefined)
        server.serve('/model.bin', 'b'.repeat(40_000), { etag: '"v2"' });
      return false;
    };
    const { modelDir } = await it.fetch(`${server.url}/model.bin`);
    expect((await treeOf(modelDir))['model.bin']).toBe('b'.repeat(40_000));
  });

  test('without an ETag are loaded from the start after a cut', async () => {
    server.serve('/model.bin', 'z'.repeat(50_000));
    server.cuts = [20_000];
    const { modelDir } = await it.fetch(`${server.url}/model.bin`);
    expect((await treeOf(modelDir))['model.bin']).toBe('z'.repeat(50_000));
    expect(server.requests[1]?.headers.range).toBeUndefined();
  });

  test('that a stopped agent began are resumed by the next one', async () => {
    const body = 'w'.repeat(100_000);
    server.serve('/model.bin', body, { etag: '"v1"' });
    let isStalled = true;
    server.handler = (_request, response) => {
      if (!isStalled) return false;
      response.writeHead(200, {
        etag: '"v1"',
        'content-length': body.length,
        'content-type': 'application/octet-stream',
      });
      response.write(body.slice(0, 40_000));
      return true;
    };
    const cancel = new AbortController();
    const stopped = it.fetch(`${server.url}/model.bin`, cancel.signal);
    await eventually('bytes', () => it.progress.some((p) => p.done >= 40_000));
    cancel.abort();
    await expect(stopped).rejects.toThrow();
    isStalled = false;
    const next = modelsIn(folder);
    await eventually('the first to let go', async () => {
      await next.store.clean(Date.now(), []);
      return (await partials()).length === 1;
    });
    const { modelDir } = await next.fetch(`${server.url}/model.bin`);
    expect((await treeOf(modelDir))['model.bin']).toBe(body);
    expect(server.requests.at(-1)?.headers.range).toBe('bytes=40000-');
  });

  test('are given up when they are cut again and again, and nothing half is used', async () => {
    server.serve('/model.bin', 'q'.repeat(50_000));
    server.cuts = Array.from({ length: 20 }, () => 1_000);
    await expect(it.fetch(`${server.url}/model.bin`)).rejects.toMatchObject({ code: 'storage_unavailable' });
    expect(server.requests.length).toBeLessThanOrEqual(5);
    expect((await readdir(join(folder, 'models'))).filter((name) => !name.startsWith('.'))).toEqual([]);
  });

  test.each([
    [404, 'storage_not_found'],
    [410, 'storage_not_found'],
    [401, 'storage_forbidden'],
    [403, 'storage_forbidden'],
  ])('answered with %d fail as %s, at once and in the words of KServe', async (status, code) => {
    server.serve('/model.bin', 'x');
    server.statuses = [status];
    const failing = it.fetch(`${server.url}/model.bin`);
    await expect(failing).rejects.toMatchObject({ code });
    await expect(failing).rejects.toThrow(`returned a ${String(status)} response code.`);
    expect(server.requests).toHaveLength(1);
    expect(await partials()).toEqual([]);
  });

  test.each([500, 502, 503, 429])('answered with %d are tried again', async (status) => {
    server.serve('/model.bin', 'x');
    server.statuses = [status];
    expect(await treeOf((await it.fetch(`${server.url}/model.bin`)).modelDir)).toEqual({ 'model.bin': 'x' });
  });

  test('never show the query of their address, which may be a signature', async () => {
    const failing = it.fetch(`${server.url}/model.bin?sig=hidden`);
    await expect(failing).rejects.not.toThrow(/hidden/);
  });

  test('that are pages of HTML, or archives of another kind than they say, are refused', async () => {
    server.serve('/model.joblib', '<html>', { type: 'text/html; charset=utf-8' });
    server.serve('/model.tar.gz', 'x', { type: 'application/zip' });
    for (const name of ['model.joblib', 'model.tar.gz']) {
      await expect(it.fetch(`${server.url}/${name}`)).rejects.toMatchObject({
        code: 'storage_not_supported',
      });
    }
  });

  test('that are archives are unpacked, also when only the query says so', async () => {
    const zip = zipOf([{ name: 'model.onnx', body: 'onnx' }]);
    server.serve('/model.zip', zip, { type: 'application/zip' });
    server.serve('/get?path=/20210530/model.zip', zip, { type: 'application/x-zip-compressed' });
    for (const path of ['model.zip', 'get?path=/20210530/model.zip']) {
      expect(await treeOf((await it.fetch(`${server.url}/${path}`)).modelDir)).toEqual({
        'model.onnx': 'onnx',
      });
    }
  });

  test('follow a few redirects and no circle, nor to another kind of address', async () => {
    server.serve('/end.bin', 'x');
    server.handler = (request, response) => {
      const to = {
        '/a.bin': '/b.bin',
        '/b.bin': '/end.bin',
        '/circle.bin': '/circle.bin',
        '/f.bin': 'file:///etc/passwd',
      }[request.url ?? ''];
      if (to === undefined) return false;
      response.writeHead(302, { location: to }).end();
      return true;
    };
    expect(await treeOf((await it.fetch(`${server.url}/a.bin`)).modelDir)).toEqual({ 'a.bin': 'x' });
    for (const path of ['circle.bin', 'f.bin']) {
      await expect(it.fetch(`${server.url}/${path}`)).rejects.toMatchObject({ code: 'storage_forbidden' });
    }
  });

  test('that are too large are refused, whether or not they state their length', async () => {
    const small = modelsIn(folder, {}, { maxBytes: 1_000, maxFiles: 10 });
    server.serve('/model.bin', 'x'.repeat(5_000));
    await expect(small.fetch(`${server.url}/model.bin`)).rejects.toMatchObject({ code: 'storage_forbidden' });
    server.handler = (_, response) => {
      response.setHeader('content-type', 'application/octet-stream');
      response.write('x'.repeat(3_000));
      response.end('x'.repeat(3_000));
      return true;
    };
    await expect(small.fetch(`${server.url}/model.bin`)).rejects.toMatchObject({ code: 'storage_forbidden' });
    expect(await partials()).toEqual([]);
  });

  test('that nobody serves any more are used as they were loaded, and refused when they never were', async () => {
    server.serve('/model.bin', 'weights', { etag: '"v1"' });
    const uri = `${server.url}/model.bin`;
    const first = await it.fetch(uri);
    await server.close();
    expect(await it.fetch(uri)).toEqual(first);
    await writeFile(join(first.modelDir, 'model.bin'), 'tampered');
    await expect(it.fetch(uri)).rejects.toMatchObject({ code: 'storage_unavailable' });
  });

  whole('on a full disk say what to do, and leave nothing behind', async () => {
    server.serve('/model.bin', 'x'.repeat(100_000));
    const uri = `${server.url}/model.bin`;
    const staging = await it.store.staging(uri);
    // The kernel itself refuses every byte that is written there.
    await mkdir(join(staging, 'parts'));
    await symlink('/dev/full', join(staging, 'parts', sha256(join(staging, 'files', 'model.bin'))));
    const failing = it.fetch(uri);
    await expect(failing).rejects.toMatchObject({ code: 'disk_full' });
    await expect(failing).rejects.toThrow(/free some space or set MUSTER_DATA_DIR/);
    expect(await partials()).toEqual([]);
    expect(server.requests).toHaveLength(1);
  });

  test('share one download; who leaves ends it only when nobody is left', async () => {
    let release: () => void = () => undefined;
    server.handler = (_, response) => {
      response.setHeader('content-type', 'application/octet-stream');
      response.write('first ');
      release = () => response.end('second');
      return true;
    };
    const uri = `${server.url}/model.bin`;
    const cancel = new AbortController();
    const [leaves, stays] = [it.fetch(uri, cancel.signal), it.fetch(uri)];
    await eventually('the first bytes', () => it.progress.some((p) => p.done === 6));
    cancel.abort();
    await expect(leaves).rejects.toThrow();
    release();
    expect(await treeOf((await stays).modelDir)).toEqual({ 'model.bin': 'first second' });
    expect(server.requests).toHaveLength(1);
  });
});
