import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Backend } from '../fixtures/gateway/backends.ts';
import { echo, refusingAddress, startBackend } from '../fixtures/gateway/backends.ts';
import type { TestGateway } from '../fixtures/gateway/gateway.ts';
import { get, postJson, startTestGateway } from '../fixtures/gateway/gateway.ts';
import { service } from '../fixtures/gateway/tables.ts';

const infer = { inputs: [{ name: 'X', shape: [1], datatype: 'INT64', data: [9007199254740993] }] };

describe('KServe V1 and V2 through the gateway', () => {
  let gateway: TestGateway;
  let backend: Backend;
  beforeEach(async () => {
    backend = await startBackend(echo);
    gateway = await startTestGateway({}, [
      service('iris', { ready: [backend.address], hosts: ['iris-default.example.com'] }),
      service('renamed', { ready: [backend.address], models: ['renamed', 'alias'], upstreamModel: 'inner' }),
      service('llm', { ready: [backend.address], protocols: ['openai'] }),
      service('away', { ready: [], state: 'Failed', message: 'ModelLoadFailed: no such tensor' }),
      service('paused', { ready: [], state: 'Stopped', protocols: [], targets: [] }),
    ]);
  });
  afterEach(async () => {
    await gateway.close();
    await backend.close();
  });
  const seen = () => backend.seen.at(-1)!;

  test.each([
    ['/v2/models/iris/infer', '/v2/models/iris/infer'],
    ['/v2/models/iris/versions/1/infer', '/v2/models/iris/versions/1/infer'],
    ['/v1/models/iris:predict', '/v1/models/iris:predict'],
    ['/serving/default/iris/v2/models/iris/infer', '/v2/models/iris/infer'],
    ['/v2/models/alias/infer', '/v2/models/inner/infer'],
    ['/v1/models/default%2Firis:predict', '/v1/models/iris:predict'],
    ['/v2/models/default/iris/infer', '/v2/models/iris/infer'],
  ])('%s reaches the server as %s, its body untouched', async (path, upstream) => {
    const body = JSON.stringify(infer).replace('9007199254740992', '9007199254740993');
    expect((await postJson(gateway.url + path, body)).status).toBe(200);
    expect(seen().url).toBe(upstream);
    expect(seen().body.toString()).toBe(body);
  });

  test('binary tensors pass both ways, with the header that splits them and without any content type', async () => {
    const binary = Buffer.from([0x7b, 0x7d, 0x00, 0xff, 0xfe, 0x00]);
    await backend.close();
    backend = await startBackend((request, response) => {
      response.setHeader('inference-header-content-length', '2');
      response.end(request.body);
    });
    gateway.use([service('iris', { ready: [backend.address] })]);
    const answer = await fetch(`${gateway.url}/v2/models/iris/infer`, {
      method: 'POST',
      headers: { 'inference-header-content-length': '2' },
      body: binary,
    });
    expect(answer.headers.get('inference-header-content-length')).toBe('2');
    expect(Buffer.from(await answer.arrayBuffer())).toEqual(binary);
    expect(seen().headers['inference-header-content-length']).toBe('2');
    expect(seen().body).toEqual(binary);
  });

  test('lists models for both of its readers at once, and says which are ready', async () => {
    const { body } = await get(`${gateway.url}/v1/models`);
    expect(body).toMatchObject({
      object: 'list',
      models: ['alias', 'away', 'iris', 'llm', 'paused', 'renamed'],
    });
    expect(
      (body as { data: { id: string; ready: boolean }[] }).data.find((m) => m.id === 'away')?.ready,
    ).toBe(false);
    expect((await get(`${gateway.url}/v1/models/iris`)).body).toMatchObject({
      name: 'iris',
      ready: true,
      id: 'iris',
      object: 'model',
    });
    expect((await get(`${gateway.url}/v1/models/nope`)).status).toBe(404);
  });

  test('answers for itself: alive, live, ready, server metadata', async () => {
    expect((await get(`${gateway.url}/`)).body).toEqual({ status: 'alive' });
    expect((await get(`${gateway.url}/v2/health/live`)).body).toEqual({ live: true });
    expect((await get(`${gateway.url}/v2/health/ready`)).body).toEqual({ ready: true });
    expect((await get(`${gateway.url}/v2`)).body).toMatchObject({
      name: expect.any(String) as unknown,
      extensions: expect.any(Array) as unknown,
    });
  });

  test('a host that names a service needs no model in the path of its health', async () => {
    const answer = await fetch(`${gateway.url}/serving/default/iris/v2/health/ready`);
    expect(answer.status).toBe(200);
    expect((await get(`${gateway.url}/serving/default/away/v2/health/ready`)).status).toBe(503);
  });

  test.each(['', '{}', '{"ready": true}'])('the repository index takes the body %p', async (body) => {
    const answer = await fetch(`${gateway.url}/v2/repository/index`, { method: 'POST', body });
    const index = (await answer.json()) as { name: string; state: string; reason: string }[];
    expect(index.find((entry) => entry.name === 'iris')?.state).toBe('READY');
    const away = index.find((entry) => entry.name === 'away');
    if (body.includes('true')) expect(away).toBeUndefined();
    else
      expect(away).toMatchObject({
        state: 'UNAVAILABLE',
        reason: expect.stringContaining('no such tensor') as unknown,
      });
  });

  test('load and unload go to every server of a service, ready or not', async () => {
    const second = await startBackend(echo);
    gateway.use([service('iris', { ready: [backend.address], unready: [second.address] })]);
    expect((await postJson(`${gateway.url}/v2/repository/models/iris/unload`, {})).status).toBe(200);
    expect([seen().url, second.seen.at(-1)?.url]).toEqual(Array(2).fill('/v2/repository/models/iris/unload'));
    const before = backend.seen.length;
    const page = { origin: 'https://elsewhere.example' };
    const refused = await postJson(`${gateway.url}/v2/repository/models/iris/unload`, {}, page);
    expect(refused).toMatchObject({
      status: 403,
      body: { error: expect.stringContaining('another origin') as unknown },
    });
    expect(backend.seen).toHaveLength(before);
    const own = { origin: gateway.url };
    expect((await postJson(`${gateway.url}/v2/repository/models/iris/load`, {}, own)).status).toBe(200);
    const dead = await refusingAddress();
    gateway.use([service('iris', { ready: [backend.address], unready: [dead] })]);
    const failed = await postJson(`${gateway.url}/v2/repository/models/iris/load`, {});
    expect(failed.status).toBeGreaterThanOrEqual(500);
    expect(failed.text).toContain(dead.replace('http://', ''));
    await second.close();
  });

  test.each([
    ['GET', '/v2/models/nope', 404, 'Model with name nope does not exist.'],
    ['POST', '/v1/models/nope:predict', 404, 'Model with name nope does not exist.'],
    ['POST', '/v2/models/away/infer', 503, 'no such tensor'],
    ['POST', '/v2/models/paused/infer', 503, 'paused'],
    ['POST', '/v2/models/llm/infer', 400, 'openai'],
    ['POST', '/v1/models/iris:explain', 501, ''],
    ['GET', '/v2/models/iris/infer', 405, 'POST'],
    ['POST', '/v2/nowhere', 404, '/v2/nowhere'],
    ['GET', '/v2/models/%zz', 400, 'malformed'],
  ])("%s %s is %d in KServe's own shape", async (method, path, status, says) => {
    const answer =
      method === 'GET' ? await get(gateway.url + path) : await postJson(gateway.url + path, infer);
    expect(answer.status).toBe(status);
    expect((answer.body as { error: string }).error).toContain(says);
    expect(backend.seen).toEqual([]);
  });

  test('what is not ready says when to come again', async () => {
    const answer = await postJson(`${gateway.url}/v2/models/away/infer`, infer);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
  });

  test("the server's own errors pass through as they are", async () => {
    await backend.close();
    backend = await startBackend((_seen, response) => {
      response.writeHead(422, { 'content-type': 'application/json', 'x-own': 'yes' });
      response.end('{"error":"its own words"}');
    });
    gateway.use([service('iris', { ready: [backend.address] })]);
    const answer = await postJson(`${gateway.url}/v2/models/iris/infer`, infer);
    expect(answer).toMatchObject({ status: 422, body: { error: 'its own words' } });
    expect(answer.headers.get('x-own')).toBe('yes');
  });

  test('every answer is counted and logged, without what was asked', async () => {
    await postJson(`${gateway.url}/v2/models/iris/infer?secret=1`, infer);
    const line = gateway.logs.find((entry) => entry['path'] === '/v2/models/iris/infer');
    expect(line).toMatchObject({ status: 200, method: 'POST' });
    expect(JSON.stringify(gateway.logs)).not.toContain('secret');
    const { text } = await get(`${gateway.url}/metrics`);
    expect(text).toMatch(/muster_gateway_requests_total\{[^}]*service="iris"[^}]*\} 1/);
  });
});
