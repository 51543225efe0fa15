import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { startCachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import type { CachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import { ask, chatServer, completion, json } from '../../fixtures/cache/openai-server.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, Respond } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { postJson } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

describe('the exact cache', () => {
  let gateway: CachedGateway;
  let backend: Backend | null = null;
  let others: Backend[] = [];
  beforeEach(async () => {
    gateway = await startCachedGateway();
  });
  afterEach(async () => {
    await gateway.close();
    await backend?.close();
    await Promise.all(others.map((each) => each.close()));
    backend = null;
    others = [];
  });
  const serve = async (respond: Respond, cache: Record<string, unknown> = {}) => {
    backend = await startBackend(respond);
    gateway.use([service('tiny', { ready: [backend.address] })], { enabled: true, ...cache });
    return backend;
  };
  const chat = (body: unknown, headers: Record<string, string> = {}) =>
    postJson(`${gateway.url}/v1/chat/completions`, body, headers);
  const state = ({ headers }: { headers: Headers }) => headers.get('x-muster-cache');

  test('is off until the policy turns it on', async () => {
    const server = chatServer();
    backend = await startBackend(server.respond);
    gateway.use([service('tiny', { ready: [backend.address] })], {});
    const first = await chat(ask());
    await chat(ask());
    expect(server.count).toBe(2);
    expect(state(first)).toBeNull();
  });

  test('gives an answer again, byte for byte, with its age', async () => {
    const server = chatServer();
    await serve(server.respond);
    const first = await chat(ask());
    const again = await chat(ask());
    expect(server.count).toBe(1);
    expect([state(first), state(again)]).toEqual(['miss', 'hit']);
    expect(again.text).toBe(first.text);
    expect(again.headers.get('age')).toBe('0');
    expect(again.headers.get('x-muster-cache-level')).toBe('local');
    expect(again.headers.get('content-type')).toBe(first.headers.get('content-type'));
    expect(again.headers.get('x-request-id')).not.toBe(first.headers.get('x-request-id'));
  });

  test('sees through the order of keys, spaces, who is named as user, and whether it is streamed', async () => {
    const server = chatServer();
    await serve(server.respond);
    await chat(ask());
    const same = [
      '{"temperature":0, "messages":[{"content":"hi","role":"user"}],\n"model":"tiny"}',
      ask('hi', { user: 'u1', metadata: { a: '1' } }),
      '{"temperature":0,"messages":[{"content":"\\u0068i","role":"user"}],"model":"tiny"}',
      ask('hi', { stream: true }),
    ];
    for (const body of same) expect(state(await chat(body))).toBe('hit');
    expect(server.count).toBe(1);
  });

  test.each([
    ['another message', ask('ho')],
    ['another temperature', '{"model":"tiny","messages":[{"role":"user","content":"hi"}],"temperature":0.0}'],
    ['a seed', ask('hi', { seed: 1 })],
    ['more choices', ask('hi', { n: 2 })],
    ['a tool', ask('hi', { tools: [{ type: 'function', function: { name: 'f' } }] })],
    ['log probabilities', ask('hi', { logprobs: true })],
    ['a field nobody knows', ask('hi', { min_p: 0.1 })],
  ])('asks the server for %s', async (_what, body) => {
    const server = chatServer();
    await serve(server.respond);
    await chat(ask());
    await chat(body);
    expect(server.count).toBe(2);
  });

  test.each([
    ['sampling', ask('hi', { temperature: 0.7 })],
    ['sampling by default', { model: 'tiny', messages: [{ role: 'user', content: 'hi' }] }],
    ['a key that is there twice', '{"model":"tiny","messages":[],"temperature":1,"temperature":0}'],
    [
      'a picture behind an address',
      ask('hi', {
        messages: [
          { role: 'user', content: [{ type: 'image_url', image_url: { url: 'https://a.example/b.png' } }] },
        ],
      }),
    ],
    [
      'options that change the chunks',
      ask('hi', { stream: true, stream_options: { continuous_usage_stats: true } }),
    ],
  ])('leaves %s alone', async (_what, body) => {
    const server = chatServer();
    await serve(server.respond);
    expect(state(await chat(body))).toBe('bypass');
    expect(state(await chat(body))).toBe('bypass');
    expect(server.count).toBe(2);
  });

  test('keeps sampled answers where the policy says so', async () => {
    const server = chatServer();
    await serve(server.respond, { services: { 'default/tiny': { deterministicOnly: false } } });
    await chat(ask('hi', { temperature: 1 }));
    expect(state(await chat(ask('hi', { temperature: 1 })))).toBe('hit');
  });

  test('keeps numbers apart that a double would confuse', async () => {
    const server = chatServer();
    await serve(server.respond);
    const body = (seed: string) => `{"model":"tiny","messages":[],"seed":${seed}}`;
    await chat(body('9007199254740992'));
    expect(state(await chat(body('9007199254740993')))).toBe('miss');
    expect(state(await chat(body('9007199254740992')))).toBe('hit');
  });

  test('forgets an answer after its time', async () => {
    const server = chatServer();
    await serve(server.respond, { ttlSeconds: 100 });
    await chat(ask());
    gateway.pass(99);
    const old = await chat(ask());
    expect([state(old), Number(old.headers.get('age')) >= 99]).toEqual(['hit', true]);
    gateway.pass(2);
    expect(state(await chat(ask()))).toBe('miss');
    expect(server.count).toBe(2);
  });

  test('never gives an answer of an old revision after a rollout, and evicts it', async () => {
    const server = chatServer();
    const { address } = await serve(server.respond);
    await chat(ask());
    const revision = (name: string) => [
      { revision: name, percent: 100, endpoints: [{ address, revision: name, ready: true }] },
    ];
    const use = (name: string) => {
      gateway.use([service('tiny', { targets: revision(name) })], { enabled: true });
    };
    use('r2');
    expect(await gateway.metric('muster_gateway_cache_entries')).toBe(0);
    expect(state(await chat(ask()))).toBe('miss');
    use('r3');
    expect(state(await chat(ask()))).toBe('miss');
  });

  test.each([
    ['generation', { generation: 2 }],
    ['age: it was made anew', { createdAt: '2026-02-02T03:04:05Z' }],
    ['model at its server', { upstreamModel: 'other' }],
  ])('forgets the answers of a service with another %s', async (_what, sketch) => {
    const server = chatServer();
    const { address } = await serve(server.respond);
    await chat(ask());
    gateway.use([service('tiny', { ready: [address], ...sketch })], { enabled: true });
    expect(state(await chat(ask()))).toBe('miss');
  });

  test('keeps an answer that was under way during a rollout for its own revision alone', async () => {
    const server = chatServer(100);
    const { address } = await serve(server.respond);
    const under = chat(ask());
    await until(() => server.count === 1);
    const targets = [{ revision: 'r2', percent: 100, endpoints: [{ address, revision: 'r2', ready: true }] }];
    gateway.use([service('tiny', { targets })], { enabled: true });
    await under;
    expect(state(await chat(ask()))).toBe('miss');
  });

  test('draws the revision of a hit by the shares of the traffic', async () => {
    const old = await startBackend((_seen, response) => {
      json(response, 200, completion('old'));
    });
    others.push(old);
    const { address } = await serve((_seen, response) => {
      json(response, 200, completion('new'));
    });
    const target = (revision: string, percent: number, at: string) => ({
      revision,
      percent,
      endpoints: [{ address: at, revision, ready: true }],
    });
    gateway.use([service('tiny', { targets: [target('r1', 50, old.address), target('r2', 50, address)] })], {
      enabled: true,
    });
    const seen = new Set<string>();
    for (let at = 0; at < 60; at += 1) {
      const answer = await chat(ask());
      if (state(answer) === 'hit') seen.add(answer.text.includes('old') ? 'old' : 'new');
    }
    expect([...seen].sort()).toEqual(['new', 'old']);
  });

  test('goes by the revisions of the servers, and answers while they sleep', async () => {
    const server = chatServer();
    const { address } = await serve(server.respond);
    const target = (own: string | null) => [
      {
        revision: 'r1',
        percent: 100,
        endpoints: own === null ? [] : [{ address, revision: own, ready: true }],
      },
    ];
    const use = (own: string | null) => {
      gateway.use([service('tiny', { targets: target(own) })], { enabled: true });
    };
    use('r1-special');
    await chat(ask());
    expect(state(await chat(ask()))).toBe('hit');
    use('r1');
    expect(state(await chat(ask()))).toBe('miss');
    use(null);
    expect(state(await chat(ask()))).toBe('hit');
    expect((await chat(ask('another'))).status).toBe(503);
  });

  test('does not answer for a service that is stopped', async () => {
    const server = chatServer();
    const { address } = await serve(server.respond);
    await chat(ask());
    gateway.use([service('tiny', { ready: [address], state: 'Stopped', targets: [] })], { enabled: true });
    expect((await chat(ask())).status).toBe(503);
  });

  describe('the client decides', () => {
    test.each([
      ['cache-control', 'no-store'],
      ['x-muster-cache', 'skip'],
    ])('%s: %s neither looks nor keeps', async (name, value) => {
      const server = chatServer();
      await serve(server.respond);
      expect(state(await chat(ask(), { [name]: value }))).toBe('bypass');
      expect(state(await chat(ask()))).toBe('miss');
    });

    test.each(['no-cache', 'max-age=0'])(
      'cache-control: %s asks the server and keeps its answer',
      async (value) => {
        const server = chatServer();
        await serve(server.respond);
        await chat(ask());
        const fresh = await chat(ask(), { 'cache-control': value });
        expect(state(fresh)).toBe('refresh');
        const again = await chat(ask());
        expect([state(again), again.text]).toEqual(['hit', fresh.text]);
      },
    );

    test('max-age takes answers that are young enough', async () => {
      const server = chatServer();
      await serve(server.respond);
      await chat(ask());
      gateway.pass(300);
      expect(state(await chat(ask(), { 'cache-control': 'max-age=600' }))).toBe('hit');
      expect(state(await chat(ask(), { 'cache-control': 'max-age=299' }))).toBe('miss');
      expect(state(await chat(ask(), { 'cache-control': 'max-age=299' }))).toBe('hit'); // the new one
    });

    test('only-if-cached never asks a server', async () => {
      const server = chatServer();
      await serve(server.respond);
      const header = { 'cache-control': 'only-if-cached' };
      const missed = await chat(ask(), header);
      expect(missed.status).toBe(504);
      expect(missed.body).toMatchObject({ error: { code: 'not_cached' } });
      expect((await chat(ask('hi', { temperature: 1 }), header)).status).toBe(504);
      expect(server.count).toBe(0);
      await chat(ask());
      expect(state(await chat(ask(), header))).toBe('hit');
    });
  });
});
