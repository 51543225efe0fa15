import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { request as httpRequest } from 'node:http';
import type { ServerResponse } from 'node:http';
import { newKey } from '../../fixtures/access/keys.ts';
import { startCachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import type { CachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import { ask, chunks, completion, json, stream } from '../../fixtures/cache/openai-server.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { postJson } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

/** The cache among the other steps of a request: queue, accounts, retries. */
describe('the cache', () => {
  let gateway: CachedGateway;
  let backend: Backend;
  let open: ServerResponse[];
  let others: Backend[];
  let isBreaking: boolean;
  beforeEach(async () => {
    open = [];
    others = [];
    gateway = await startCachedGateway();
    isBreaking = false;
    backend = await startBackend((_seen, response) => {
      if (isBreaking) response.destroy();
      else open.push(response);
    });
  });
  afterEach(async () => {
    await gateway.close();
    await Promise.all([backend, ...others].map((each) => each.close()));
  });
  const use = (policy: Record<string, unknown>, cache: Record<string, unknown> = {}) => {
    gateway.use([service('tiny', { ready: [backend.address] })], { enabled: true, ...cache }, policy);
  };
  const chat = (body: unknown = ask(), headers: Record<string, string> = {}) =>
    postJson(`${gateway.url}/v1/chat/completions`, body, headers);
  const asked = (count: number) => until(() => backend.seen.length === count);
  const waiting = (count: number) =>
    until(async () => (await gateway.metric('muster_gateway_cache_waiting')) === count);
  const flights = (count: number) =>
    until(async () => (await gateway.metric('muster_gateway_cache_flights')) === count);
  const give = (text: string) => {
    const response = open.shift();
    if (response !== undefined) json(response, 200, completion(text));
  };
  const leaving = (body: unknown) => {
    const request = httpRequest(`${gateway.url}/v1/chat/completions`, { method: 'POST' });
    request.on('error', () => undefined);
    request.end(JSON.stringify(body));
    return () => request.destroy();
  };

  test('keeps the place in the queue of a request whose client left, for those that wait for it', async () => {
    use({ qos: { concurrency: { perService: 1 } } });
    const first = chat(ask('something else'));
    await asked(1);
    const leave = leaving(ask());
    await flights(2);
    const other = chat();
    await waiting(1);
    leave();
    give('one');
    await first;
    await asked(2);
    give('two');
    expect((await other).text).toContain('two');
    // Its place is free again.
    const last = chat(ask('the last'));
    await asked(3);
    give('three');
    expect((await last).status).toBe(200);
  });

  test('gives up the place in the queue of a request that nobody waits for', async () => {
    use({ qos: { concurrency: { perService: 1 } } });
    const first = chat(ask('something else'));
    await asked(1);
    const leave = leaving(ask());
    await flights(2);
    leave();
    await flights(1);
    give('one');
    await first;
    await until(async () => (await gateway.metric('muster_gateway_in_flight')) === 1);
    expect(backend.seen).toHaveLength(1);
  });

  test('answers while the queue is full, and costs nothing', async () => {
    const prices = { models: [{ model: '*', inputPerMillion: 1_000_000, outputPerMillion: 1_000_000 }] };
    use({ qos: { concurrency: { perService: 1 } }, prices });
    const kept = chat();
    await asked(1);
    give('kept');
    const paid = await kept;
    const held = chat(ask('something else'));
    await asked(2);
    const hit = await chat();
    expect([hit.headers.get('x-muster-cache'), hit.status]).toEqual(['hit', 200]);
    expect(paid.headers.get('x-muster-cost')).toBe('10');
    expect(hit.headers.get('x-muster-cost')).toBeNull();
    give('other');
    await held;
    expect(await gateway.metric('muster_gateway_usage_requests_total')).toBe(2);
  });

  test('gives streams whose usage is counted for accounts alone as their clients asked for them', async () => {
    use({ prices: { models: [{ model: '*', perRequest: 1, outputPerMillion: 1 }] }, budgets: [] });
    const first = chat(ask('hi', { stream: true }));
    await asked(1);
    const wantsUsage = String(backend.seen[0]?.body).includes('include_usage');
    const response = open.shift();
    if (response !== undefined) stream(response, chunks('one two', wantsUsage));
    const streamed = await first;
    const again = await chat(ask('hi', { stream: true }));
    expect(again.headers.get('x-muster-cache')).toBe('hit');
    expect(again.text).toBe(streamed.text);
    expect(again.text).not.toContain('prompt_tokens');
  });

  test('waits for the answer of a further try, and keeps it', async () => {
    const good = await startBackend((_seen, response) => {
      json(response, 200, completion('from the other'));
    });
    others.push(good);
    const revision = 'tiny-predictor-00001';
    const endpoints = [backend.address, good.address].map((address) => ({ address, revision, ready: true }));
    gateway.use([service('tiny', { targets: [{ revision, percent: 100, endpoints }] })], { enabled: true });
    isBreaking = true;
    for (let at = 0; at < 10; at += 1) {
      const body = ask(`question ${at}`);
      expect((await chat(body)).text).toContain('from the other');
      expect((await chat(body)).headers.get('x-muster-cache')).toBe('hit');
    }
    expect(backend.seen.length).toBeGreaterThan(0);
  });

  test('keeps no answer of a service that took the place of the one asked for', async () => {
    const other = await startBackend((_seen, response) => {
      json(response, 200, completion('a stand-in'));
    });
    others.push(other);
    const resilience = { fallbacks: { 'default/tiny': ['default/other'] } };
    gateway.use(
      [service('tiny', {}), service('other', { ready: [other.address] })],
      { enabled: true },
      { resilience },
    );
    const answers = [await chat(), await chat()];
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    expect(answers.map(({ headers }) => headers.get('x-muster-cache'))).toEqual(['miss', 'miss']);
    expect(other.seen).toHaveLength(2);
  });

  test('gives nobody what a stand-in told another person', async () => {
    const held: (() => void)[] = [];
    const other = await startBackend(({ headers }, response) => {
      held.push(() => {
        json(response, 200, completion(`for ${String(headers.authorization)}`));
      });
    });
    others.push(other);
    const keys = [newKey({ tenant: 'acme' }), newKey({ tenant: 'acme' })];
    gateway.use(
      [service('tiny', {}), service('other', { ready: [other.address], passAuthorization: true })],
      { enabled: true },
      {
        access: { keys: keys.map(({ record }) => record) },
        resilience: { fallbacks: { 'default/tiny': ['default/other'] } },
      },
    );
    const say = (who: string, at: number) =>
      chat(ask(), { 'x-api-key': keys[at]?.key ?? '', authorization: `Bearer ${who}` });
    const ann = say('ann', 0);
    await until(() => held.length === 1);
    const bob = say('bob', 1);
    await waiting(1);
    held[0]?.();
    expect((await ann).text).toContain('for Bearer ann');
    await until(() => held.length === 2);
    held[1]?.();
    expect((await bob).text).toContain('for Bearer bob');
  });
});
