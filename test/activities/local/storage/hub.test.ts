import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileServer, gitObjectId, sha256Of } from '../../../fixtures/agent/file-server.ts';
import { modelsIn, treeOf, type Fetching } from '../../../fixtures/agent/models.ts';

const commit = 'c0ffee'.padEnd(40, '0');
const files = { 'config.json': Buffer.from('{}'), 'onnx/model.onnx': Buffer.from('w'.repeat(30_000)) };

let folder: string;
let hub: FileServer;
let cdn: FileServer;
let it: Fetching;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-hub-'));
  hub = new FileServer();
  cdn = new FileServer();
  await hub.listen();
  await cdn.listen();
  it = modelsIn(folder, { hubEndpoint: hub.url, hubToken: 'hf_secret' });
  serve('main');
});

afterEach(async () => {
  await hub.close();
  await cdn.close();
  await rm(folder, { recursive: true, force: true });
});

/** As the hub does: a commit, a tree in two pages, small files itself and large ones by redirect to a CDN. */
function serve(revision: string, tree = treeEntries()): void {
  const json = { type: 'application/json' };
  hub.serve(`/api/models/owner/model/revision/${revision}`, JSON.stringify({ sha: commit }), json);
  const first = `/api/models/owner/model/tree/${commit}?recursive=true&limit=1000`;
  const second = `${first}&cursor=2`;
  hub.serve(first, JSON.stringify(tree.slice(0, 2)), {
    ...json,
    headers: { link: `<${hub.url}${second}>; rel="next"` },
  });
  hub.serve(second, JSON.stringify(tree.slice(2)), json);
  const at = `/owner/model/resolve/${commit}`;
  hub.serve(`${at}/config.json`, files['config.json']);
  cdn.serve('/blob', files['onnx/model.onnx'], { etag: '"lfs"' });
  hub.handler = (request, response) => {
    if (request.url !== `${at}/onnx/model.onnx`) return false;
    response.writeHead(302, { location: `${cdn.url}/blob` }).end();
    return true;
  };
}

function treeEntries(): Record<string, unknown>[] {
  const [config, model] = [files['config.json'], files['onnx/model.onnx']];
  return [
    { type: 'directory', path: 'onnx', size: 0, oid: '0' },
    { type: 'file', path: 'config.json', size: config.length, oid: gitObjectId(config) },
    {
      type: 'file',
      path: 'onnx/model.onnx',
      size: model.length,
      oid: 'pointer',
      lfs: { oid: sha256Of(model), size: model.length, pointerSize: 130 },
    },
  ];
}

const expected = { 'config.json': '{}', 'onnx/model.onnx': 'w'.repeat(30_000) };

describe('models from the hub', () => {
  test('are all files of the commit that the revision names', async () => {
    expect(await treeOf((await it.fetch('hf://owner/model')).modelDir)).toEqual(expected);
    serve('v2');
    expect(await treeOf((await it.fetch('hf://owner/model:v2')).modelDir)).toEqual(expected);
  });

  test('are not downloaded again while the revision names the same commit', async () => {
    const first = await it.fetch('hf://owner/model');
    hub.requests.length = 0;
    expect(await it.fetch('hf://owner/model')).toEqual(first);
    expect(hub.requests.map((r) => r.url)).toEqual(['/api/models/owner/model/revision/main']);
  });

  test('give the token to the hub and to nobody else', async () => {
    await it.fetch('hf://owner/model');
    expect(new Set(hub.requests.map((r) => r.headers.authorization))).toEqual(new Set(['Bearer hf_secret']));
    expect(cdn.requests.map((r) => r.headers.authorization)).toEqual([undefined]);
  });

  test('are refused when a file is not what the hub states, of either kind', async () => {
    cdn.serve('/blob', 'W'.repeat(30_000));
    await expect(it.fetch('hf://owner/model')).rejects.toMatchObject({ code: 'checksum_mismatch' });
    serve('main');
    hub.serve(`/owner/model/resolve/${commit}/config.json`, '[]');
    await expect(it.fetch('hf://owner/model')).rejects.toMatchObject({ code: 'checksum_mismatch' });
    serve('main');
    expect(await treeOf((await it.fetch('hf://owner/model')).modelDir)).toEqual(expected);
  });

  test('resume a large file that was cut', async () => {
    cdn.cuts = [10_000];
    expect(await treeOf((await it.fetch('hf://owner/model')).modelDir)).toEqual(expected);
    expect(cdn.requests[1]?.headers.range).toMatch(/^bytes=\d+-$/);
  });

  test('report bytes over all files', async () => {
    await it.fetch('hf://owner/model');
    expect(it.progress.some((p) => p.done === 30_002 && p.total === 30_002)).toBe(true);
  });

  test('are refused when a path would leave the model folder', async () => {
    const bad = { type: 'file', path: '../evil', size: 1, oid: 'x' };
    serve('main', [...treeEntries(), bad]);
    await expect(it.fetch('hf://owner/model')).rejects.toThrow(/leaves the model folder/);
  });

  test.each([
    [401, 'storage_forbidden'],
    [403, 'storage_forbidden'],
    [404, 'storage_not_found'],
    [500, 'storage_unavailable'],
  ])('answered with %d fail as %s', async (status, code) => {
    hub.statuses = [status];
    await expect(it.fetch('hf://owner/model')).rejects.toMatchObject({ code });
  });

  test('that are private name the variable to set', async () => {
    const anonymous = modelsIn(folder, { hubEndpoint: hub.url });
    hub.statuses = [401];
    await expect(anonymous.fetch('hf://owner/model')).rejects.toThrow(/Set HF_TOKEN/);
  });

  test('are used as they were when the hub is away', async () => {
    const first = await it.fetch('hf://owner/model');
    await hub.close();
    expect(await it.fetch('hf://owner/model')).toEqual(first);
  });
});
