import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { newKey } from '../../fixtures/access/keys.ts';
import { startCachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import type { CachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import { ask, completion, json } from '../../fixtures/cache/openai-server.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, Respond } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { postJson } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

describe('those that wait for an answer', () => {
  let gateway: CachedGateway;
  const backends: Backend[] = [];
  beforeEach(async () => {
    gateway = await startCachedGateway();
  });
  afterEach(async () => {
    await gateway.close();
    for (const backend of backends.splice(0)) await backend.close();
  });
  const start = async (respond: Respond) => {
    const backend = await startBackend(respond);
    backends.push(backend);
    return backend;
  };
  const chat = (body: unknown, headers: Record<string, string> = {}) =>
    postJson(`${gateway.url}/v1/chat/completions`, body, headers);
  const level = ({ headers }: { headers: Headers }) => headers.get('x-muster-cache-level');
  const waiting = (count: number) =>
    until(async () => (await gateway.metric('muster_gateway_cache_waiting')) === count);

  /** Refuses what names a user by number, as servers do; answers when it is let. */
  const strict = () => {
    let open = (): void => undefined;
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    const respond: Respond = (seen, response) => {
      const { user } = JSON.parse(seen.body.toString()) as { user?: unknown };
      void opened.then(() => {
        if (typeof user === 'number') json(response, 400, { error: { message: 'user must be a string' } });
        else json(response, 200, completion('fine'));
      });
    };
    return { respond, open };
  };

  test('get no refusal that may be due to what only the first one said', async () => {
    const server = strict();
    const backend = await start(server.respond);
    gateway.use([service('tiny', { ready: [backend.address] })], { enabled: true });
    const first = chat(ask('hi', { user: 5 }));
    await until(() => backend.seen.length === 1);
    const others = [chat(ask('hi', { user: 5 })), chat(ask('hi', { user: 'ann' })), chat(ask())];
    await waiting(3);
    server.open();
    const [same, ann, plain] = await Promise.all(others);
    expect((await first).status).toBe(400);
    expect([same?.status, same && level(same)]).toEqual([400, 'flight']);
    expect([ann?.status, plain?.status]).toEqual([200, 200]);
    expect(backend.seen).toHaveLength(2); // of the others the first asks, and the last waits for it
    expect(await gateway.metric('muster_gateway_cache_flights')).toBe(0);
    expect(await gateway.metric('muster_gateway_cache_waiting')).toBe(0);
  });

  test('get no answer of a stand-in that they may not ask', async () => {
    const down = await start((_seen, response) => {
      json(response, 503, { error: { message: 'down' } });
    });
    let answerIt = (): void => undefined;
    const standIn = await start((_seen, response) => {
      answerIt = () => {
        json(response, 200, completion('secret'));
      };
    });
    const all = newKey({ tenant: 't' });
    const few = newKey({ tenant: 't', models: ['default/a'] });
    gateway.use(
      [service('a', { ready: [down.address] }), service('b', { ready: [standIn.address] })],
      { enabled: true },
      {
        access: { mode: 'required', keys: [all.record, few.record] },
        resilience: { fallbacks: { 'default/a': ['default/b'] } },
      },
    );
    const asking = (key: string) => chat(ask('hi', { model: 'a' }), { authorization: `Bearer ${key}` });
    const first = asking(all.key);
    await until(() => standIn.seen.length === 1);
    const second = asking(few.key);
    await waiting(1);
    answerIt();
    expect((await first).text).toContain('secret');
    const { status, text } = await second;
    expect([status, text.includes('secret')]).toEqual([503, false]);
  });
});
