import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { startCachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import type { CachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import { ask, chatServer, chunks, json, stream } from '../../fixtures/cache/openai-server.ts';
import type { ChatServer } from '../../fixtures/cache/openai-server.ts';
import { refusingAddress, startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, Respond } from '../../fixtures/gateway/backends.ts';
import { postJson } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

describe('an answer past its time', () => {
  let gateway: CachedGateway;
  let backend: Backend;
  let server: ChatServer;
  let respond: Respond;
  beforeEach(async () => {
    gateway = await startCachedGateway();
    server = chatServer();
    respond = server.respond;
    backend = await startBackend((seen, response) => {
      respond(seen, response);
    });
    use();
    await chat();
    gateway.pass(150); // of 100 that it is fresh, and 100 more that it may be stale
  });
  afterEach(async () => {
    await gateway.close();
    await backend.close();
  });
  const use = (cache: Record<string, unknown> = {}, address = backend.address) => {
    gateway.use([service('tiny', { ready: [address] })], {
      enabled: true,
      ttlSeconds: 100,
      staleSeconds: 100,
      ...cache,
    });
  };
  const chat = (body: unknown = ask(), headers: Record<string, string> = {}) =>
    postJson(`${gateway.url}/v1/chat/completions`, body, headers);
  const refuse: Respond = (_seen, response) => {
    json(response, 500, { error: { message: 'x' } });
  };

  test('is not given while a server answers', async () => {
    const answer = await chat();
    expect(answer.headers.get('x-muster-cache')).toBe('miss');
    expect(answer.text).toContain('answer 2');
  });

  test.each<[string, Respond]>([
    ['refuses', refuse],
    [
      'is overloaded',
      (_seen, response) => {
        json(response, 503, { error: { message: 'x' } });
      },
    ],
    ['breaks the connection', (_seen, response) => response.destroy()],
    [
      'breaks off within its answer',
      (_seen, response) => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': 100 });
        response.write('{');
        setTimeout(() => response.destroy(), 10);
      },
    ],
    ['sends garbage', (_seen, response) => response.socket?.end('garbage\r\n\r\n')],
  ])('is given when the server %s, and says so', async (_what, broken) => {
    respond = broken;
    const answer = await chat();
    expect([answer.status, answer.headers.get('x-muster-cache')]).toEqual([200, 'stale']);
    expect(Number(answer.headers.get('age'))).toBeGreaterThanOrEqual(150);
    expect(answer.text).toContain('answer 1');
    expect(answer.headers.get('content-length')).toBe(String(Buffer.byteLength(answer.text)));
    expect(await gateway.metric('muster_gateway_cache_requests_total', { result: 'stale' })).toBe(1);
  });

  test('is given in the form that was asked for', async () => {
    respond = refuse;
    const answer = await chat(ask('hi', { stream: true }));
    expect(answer.headers.get('x-muster-cache')).toBe('stale');
    expect(answer.text.endsWith('data: [DONE]\n\n')).toBe(true);
  });

  test('is given to all who wait', async () => {
    respond = (seen, response) =>
      setTimeout(() => {
        refuse(seen, response);
      }, 20);
    const answers = await Promise.all(Array.from({ length: 10 }, () => chat()));
    expect(answers.map(({ headers }) => headers.get('x-muster-cache'))).toEqual(new Array(10).fill('stale'));
  });

  test('is given to all who wait, and they wait no longer than the first, when nothing can be asked', async () => {
    use({ singleFlight: { waitMs: 600_000 }, shared: { enabled: false } }, await refusingAddress());
    const answers = await Promise.all(Array.from({ length: 10 }, () => chat()));
    expect(answers.map(({ headers }) => headers.get('x-muster-cache'))).toEqual(new Array(10).fill('stale'));
    expect(await gateway.metric('muster_gateway_cache_flights')).toBe(0);
  });

  test('is given when the servers are asleep', async () => {
    gateway.use([service('tiny', {})], { enabled: true, ttlSeconds: 100, staleSeconds: 100 });
    // The version of a service without servers is named by its revision, which is that of the servers before.
    expect((await chat()).headers.get('x-muster-cache')).toBe('stale');
  });

  test.each<[string, () => Promise<{ status: number }>, number]>([
    ['to who wants a new one', () => chat(ask(), { 'cache-control': 'no-cache' }), 500],
    ['to who wants none so old', () => chat(ask(), { 'cache-control': 'max-age=120' }), 500],
    ['to who wants no other than a fresh one', () => chat(ask(), { 'cache-control': 'only-if-cached' }), 504],
    ['for another question', () => chat(ask('ho')), 500],
  ])('is not given %s', async (_what, send, status) => {
    respond = refuse;
    expect((await send()).status).toBe(status);
  });

  test('is not given for refusals that are the request’s own fault, nor after its second time', async () => {
    respond = (_seen, response) => {
      json(response, 400, { error: { message: 'x' } });
    };
    expect((await chat()).status).toBe(400);
    respond = refuse;
    gateway.pass(100);
    expect((await chat()).status).toBe(500);
  });

  test('does not take the place of a stream that has begun', async () => {
    respond = (_seen, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(chunks('new', false)[0]);
      setTimeout(() => response.destroy(), 10);
    };
    const answer = await chat(ask('hi', { stream: true }));
    expect(answer.text).not.toContain('answer 1');
    expect(answer.text).toContain('error');
    respond = (_seen, response) => {
      stream(response, chunks('new at last', false));
    };
    expect((await chat(ask('hi', { stream: true }))).headers.get('x-muster-cache')).toBe('miss');
  });
});
