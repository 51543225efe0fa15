import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { ServerResponse } from 'node:http';
import { startCachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import type { CachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import { ask, chatServer, completion, json } from '../../fixtures/cache/openai-server.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, Respond } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { postJson } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

describe('purging a cache', () => {
  let gateway: CachedGateway;
  let backend: Backend | null = null;
  beforeEach(async () => {
    gateway = await startCachedGateway();
  });
  afterEach(async () => {
    await gateway.close();
    await backend?.close();
    backend = null;
  });
  const serve = async (respond: Respond) => {
    backend = await startBackend(respond);
    gateway.use([service('tiny', { ready: [backend.address] })], { enabled: true });
    return backend;
  };
  const chat = (body: unknown, headers = {}) => postJson(`${gateway.url}/v1/chat/completions`, body, headers);
  const state = ({ headers }: { headers: Headers }) => headers.get('x-muster-cache');

  test('forgets the answers of one model and of no other', async () => {
    const server = chatServer();
    const { address } = await serve(server.respond);
    gateway.use([service('tiny', { ready: [address] }), service('big', { ready: [address] })], {
      enabled: true,
    });
    await chat(ask());
    await chat({ ...ask(), model: 'big' });
    const purged = await postJson(`${gateway.url}/v1/cache/purge`, { model: 'tiny' });
    expect(purged.body).toEqual({ object: 'cache.purge', model: 'default/tiny', local: 1, shared: 0 });
    expect(state(await chat(ask()))).toBe('miss');
    expect(state(await chat({ ...ask(), model: 'big' }))).toBe('hit');
  });

  test('keeps no answer that was under way', async () => {
    const server = chatServer(80);
    await serve(server.respond);
    const under = chat(ask());
    await until(() => server.count === 1);
    await postJson(`${gateway.url}/v1/cache/purge`, { model: 'tiny' });
    await under;
    expect(state(await chat(ask()))).toBe('miss');
  });

  test('lets those who ask after it wait for each other, and not for an answer that was under way', async () => {
    const asked: ServerResponse[] = [];
    await serve((_seen, response) => asked.push(response));
    const waiting = (count: number) =>
      until(async () => (await gateway.metric('muster_gateway_cache_waiting')) === count);
    const give = (text: string) => {
      const response = asked.shift();
      if (response !== undefined) json(response, 200, completion(text));
    };
    const before = [chat(ask()), chat(ask())];
    await waiting(1);
    await postJson(`${gateway.url}/v1/cache/purge`, { model: 'tiny' });
    const after = [chat(ask()), chat(ask())];
    await until(() => asked.length === 2);
    await waiting(2);
    give('of before');
    for (const { text } of await Promise.all(before)) expect(text).toContain('of before');
    after.push(chat(ask()));
    await waiting(2);
    give('of after');
    for (const { text } of await Promise.all(after)) expect(text).toContain('of after');
    const later = await chat(ask());
    expect([state(later), later.text]).toEqual(['hit', expect.stringContaining('of after')]);
  });

  test('is over when it is answered: what is asked for at once behind it is kept', async () => {
    const server = chatServer();
    await serve(server.respond);
    for (let turn = 0; turn < 30; turn += 1) {
      await postJson(`${gateway.url}/v1/cache/purge`, { model: 'tiny' });
      expect([turn, state(await chat(ask()))]).toEqual([turn, 'miss']);
      expect([turn, state(await chat(ask()))]).toEqual([turn, 'hit']);
    }
  });

  test('is refused to pages of other origins, and for models that there are not', async () => {
    const server = chatServer();
    await serve(server.respond);
    const purge = (body: unknown, headers = {}) => postJson(`${gateway.url}/v1/cache/purge`, body, headers);
    expect((await purge({ model: 'tiny' }, { origin: 'https://evil.example' })).status).toBe(403);
    expect((await purge({ model: 'nothing' })).status).toBe(404);
  });

  test('is done for a service that speaks V1 alone', async () => {
    let count = 0;
    const { address } = await serve((_seen, response) => {
      count += 1;
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(`{"predictions":[${count}]}`);
    });
    const iris = { ...service('iris', { ready: [address] }), protocols: ['v1' as const] };
    gateway.use([iris], { enabled: true, kserve: true });
    const predict = () => postJson(`${gateway.url}/v1/models/iris:predict`, { instances: [1] });
    await predict();
    expect(state(await predict())).toBe('hit');
    expect((await postJson(`${gateway.url}/v1/cache/purge`, { model: 'iris' })).status).toBe(200);
    expect(state(await predict())).toBe('miss');
  });

  test('is also done by another epoch in the policy', async () => {
    const server = chatServer();
    const { address } = await serve(server.respond);
    await chat(ask());
    gateway.use([service('tiny', { ready: [address] })], { enabled: true, epoch: 1 });
    expect(state(await chat(ask()))).toBe('miss');
  });

  test.each([
    ['of all services', { epoch: 1 }],
    ['of one service', { services: { 'default/tiny': { epoch: 1 } } }],
  ])('keeps no answer that was under way when the epoch %s became another', async (_whose, policy) => {
    const asked: ServerResponse[] = [];
    const { address } = await serve((_seen, response) => asked.push(response));
    const under = chat(ask());
    await until(() => asked.length === 1);
    gateway.use([service('tiny', { ready: [address] })], { enabled: true, ...policy });
    for (const response of asked) json(response, 200, completion('of before'));
    expect((await under).text).toContain('of before');
    expect(state(await chat(ask(), { 'cache-control': 'only-if-cached' }))).toBe('miss');
    expect(await gateway.metric('muster_gateway_cache_unkept_total', { reason: 'old_version' })).toBe(1);
  });
});
