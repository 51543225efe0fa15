import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { newKey, sha256, useAccess } from '../../fixtures/access/keys.ts';
import { echo, startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

let backend: Backend;
let gateway: TestGateway;
beforeEach(async () => {
  backend = await startBackend(echo);
  gateway = await startTestGateway();
});
afterEach(async () => {
  await gateway.close();
  await backend.close();
});

const services = () => [
  service('tiny', { ready: [backend.address] }),
  service('big', { ready: [backend.address] }),
  service('iris', { namespace: 'team', ready: [backend.address], hosts: ['iris-team.example.com'] }),
];
const ask = (headers: Record<string, string>, model = 'tiny', path = '/v1/chat/completions') =>
  postJson(`${gateway.url}${path}`, { model }, headers);
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });
const metric = async (name: string) => {
  const { text } = await get(`${gateway.url}/metrics`);
  return Number(new RegExp(`^${name.replaceAll(/[{}"]/g, '\\$&')} (\\S+)$`, 'm').exec(text)?.[1] ?? 0);
};

describe('an open gateway', () => {
  test.each([
    ['no key', {}],
    ['a made-up key, as clients send that must have one', bearer('unused')],
    ['a key of another scheme', { authorization: 'Basic eA==' }],
  ])('lets in who brings %s', async (_what, headers) => {
    useAccess(gateway, services(), {});
    expect((await ask(headers)).status).toBe(200);
    useAccess(gateway, services(), { keys: [newKey().record] });
    expect((await ask(headers)).status).toBe(200);
    expect((await ask(headers)).status).toBe(200);
  });

  test('still holds a known key to what it may', async () => {
    const { key, record } = newKey({ models: ['default/tiny'] });
    useAccess(gateway, services(), { keys: [record] });
    expect((await ask(bearer(key), 'big')).status).toBe(403);
    expect((await ask({}, 'big')).status).toBe(200);
  });
});

describe('a gateway that requires keys', () => {
  test.each([
    ['authorization', (key: string) => ({ authorization: `Bearer ${key}` })],
    ['authorization in small letters', (key: string) => ({ authorization: `bearer ${key}` })],
    ['authorization with blanks', (key: string) => ({ authorization: `Bearer   ${key}` })],
    ['x-api-key', (key: string) => ({ 'x-api-key': key })],
    ['api-key', (key: string) => ({ 'api-key': key })],
    [
      'x-api-key, whatever authorization says',
      (key: string) => ({ 'x-api-key': key, authorization: 'Bearer else' }),
    ],
  ])('takes one by %s, the first time and every other', async (_what, headers) => {
    const { key, record } = newKey();
    useAccess(gateway, services(), { mode: 'required', keys: [record] });
    for (let time = 0; time < 3; time += 1) expect((await ask(headers(key))).status).toBe(200);
    expect(backend.seen).toHaveLength(3);
    for (const { headers: seen } of backend.seen) {
      expect(JSON.stringify(seen)).not.toContain(key);
      for (const name of ['authorization', 'x-api-key', 'api-key']) expect(seen[name]).toBeUndefined();
    }
  });

  test('takes a key of any form that its hash is known of', async () => {
    const key = 'sk-from-another-gateway';
    const record = { id: 'moved', sha256: sha256(key) };
    useAccess(gateway, services(), { mode: 'required', keys: [record] });
    expect((await ask(bearer(key))).status).toBe(200);
  });

  const mistakes: [string, (key: string) => Record<string, string>, string][] = [
    ['none', () => ({}), 'send it as'],
    ['an empty one', () => ({ authorization: '', 'x-api-key': '' }), 'send it as'],
    ['another scheme', (key) => ({ authorization: `Basic ${key}` }), 'not known'],
    ['the bare key as authorization', (key) => ({ authorization: key }), 'not known'],
    [
      'a slip of the last character',
      (key) => bearer(key.slice(0, -1) + (key.endsWith('A') ? 'B' : 'A')),
      'checksum',
    ],
    ['half of it', (key) => bearer(key.slice(0, 30)), 'checksum'],
    ['a whole one that nobody made', () => bearer(newKey().key), 'not known'],
    ['its hash in its place', (key) => bearer(sha256(key)), 'not known'],
    ['two at once', (key) => bearer(`${key} ${key}`), 'not known'],
    ['a very long one', () => bearer('x'.repeat(20_000)), 'not known'],
    [
      'a wrong x-api-key beside the right authorization',
      (key) => ({ ...bearer(key), 'x-api-key': 'no' }),
      'not known',
    ],
    ['a property that every object has', () => bearer('__proto__'), 'not known'],
  ];
  test.each(mistakes)('refuses %s, twice alike, and says why', async (_what, headers, says) => {
    const { key, record } = newKey();
    useAccess(gateway, services(), { mode: 'required', keys: [record] });
    for (let time = 0; time < 2; time += 1) {
      const answer = await ask(headers(key));
      expect(answer.status).toBe(401);
      expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer realm="muster"/);
      expect(answer.body).toMatchObject({
        error: { code: 'invalid_api_key', type: 'invalid_request_error' },
      });
      expect(answer.text).toContain(says);
      expect(answer.text).not.toContain(key.slice(14, 40));
    }
    expect(backend.seen).toEqual([]);
    expect(JSON.stringify(gateway.logs)).not.toContain(key.slice(14, 40));
  });

  test("says it in the protocol's own body", async () => {
    useAccess(gateway, services(), { mode: 'required' });
    expect((await ask({}, 'tiny', '/v2/models/tiny/infer')).body).toEqual({
      error: expect.stringContaining('API key'),
    });
    expect((await ask({}, 'tiny', '/v1/messages')).body).toMatchObject({
      type: 'error',
      error: { type: 'authentication_error' },
    });
    for (const path of ['/v1/models', '/v2/models', '/v2', '/v1/models/tiny', '/v1/nothing', '/metrics/x'])
      expect((await get(`${gateway.url}${path}`)).status).toBe(401);
  });

  test('lets probes by without one, and tells them nothing else', async () => {
    useAccess(gateway, [...services(), service('down', { unready: [backend.address] })], {
      mode: 'required',
    });
    for (const path of ['/', '/v2/health/live', '/v2/health/ready', '/v2/models/tiny/ready'])
      for (const headers of [{}, bearer('made-up')])
        expect((await get(`${gateway.url}${path}`, headers)).status).toBe(200);
    expect((await get(`${gateway.url}/v2/models/down/ready`)).status).toBe(503);
    const unknown = await get(`${gateway.url}/v2/models/iris/ready`);
    expect(unknown.status).toBe(404);
    expect(unknown.text).not.toContain('team');
  });

  test('gives metrics to this machine itself, and to others by their scope', async () => {
    const [scraper, other] = [newKey({ scopes: ['metrics'] }), newKey({ scopes: ['infer', 'admin'] })];
    useAccess(gateway, services(), { mode: 'required', keys: [scraper.record, other.record] });
    const scrape = async (headers: Record<string, string>) =>
      (await get(`${gateway.url}/metrics`, headers)).status;
    const throughProxy = { 'x-forwarded-for': '203.0.113.9' };
    expect(await scrape({})).toBe(200);
    expect(await scrape(throughProxy)).toBe(401);
    expect(await scrape({ ...throughProxy, ...bearer(other.key) })).toBe(403);
    expect(await scrape({ ...throughProxy, ...bearer(scraper.key) })).toBe(200);
    expect((await ask(bearer(scraper.key))).status).toBe(403);
  });

  test('asks for the scope admin to load and unload', async () => {
    const [user, admin] = [newKey(), newKey({ scopes: ['admin'], models: ['default/*'] })];
    useAccess(gateway, services(), { mode: 'required', keys: [user.record, admin.record] });
    const load = (key: string, model: string) =>
      ask(bearer(key), model, `/v2/repository/models/${model}/load`);
    const refused = await load(user.key, 'tiny');
    expect(refused.status).toBe(403);
    expect(refused.headers.get('www-authenticate')).toContain('insufficient_scope');
    expect((await load(admin.key, 'tiny')).status).toBe(200);
    expect((await load(admin.key, 'team%2Firis')).status).toBe(403);
    expect(backend.seen.map(({ url }) => url)).toEqual(['/v2/repository/models/tiny/load']);
  });

  test('refuses a key from the moment that its time is over, also where it was known', async () => {
    const end = Date.now() + 1_500;
    const { key, record } = newKey({ expiresAt: new Date(end).toISOString() });
    useAccess(gateway, services(), { mode: 'required', keys: [record] });
    expect((await ask(bearer(key))).status).toBe(200);
    await until(async () => (await ask(bearer(key))).status === 401);
    expect(Date.now()).toBeGreaterThanOrEqual(end);
    expect((await ask(bearer(key))).text).toContain('has expired');
  });

  test('refuses a revoked key with the next request, on open connections too, and keeps the others', async () => {
    const [first, second] = [newKey(), newKey()];
    useAccess(gateway, services(), { mode: 'required', keys: [first.record, second.record] });
    for (const { key } of [first, second]) expect((await ask(bearer(key))).status).toBe(200);
    useAccess(gateway, services(), { mode: 'required', keys: [second.record] });
    expect((await ask(bearer(first.key))).status).toBe(401);
    expect((await ask(bearer(second.key))).status).toBe(200);
    useAccess(gateway, services(), { mode: 'required', keys: [first.record, second.record] });
    expect((await ask(bearer(first.key))).status).toBe(200);
  });

  test('gives a changed key its new rights, and closes with the policy that closes it', async () => {
    const { key, record } = newKey({ models: ['default/tiny'] });
    useAccess(gateway, services(), { keys: [record] });
    expect((await ask({}, 'big')).status).toBe(200);
    expect((await ask(bearer(key), 'big')).status).toBe(403);
    useAccess(gateway, services(), { mode: 'required', keys: [{ ...record, models: ['*'] }] });
    expect((await ask({}, 'big')).status).toBe(401);
    expect((await ask(bearer(key), 'big')).status).toBe(200);
  });

  test('a table that is refused changes nothing of who may ask', async () => {
    const { key, record } = newKey();
    useAccess(gateway, services(), { mode: 'required', keys: [record] });
    expect(() => {
      useAccess(gateway, services(), { mode: 'open', keys: [{ ...record, sha256: 'plain' }] });
    }).toThrow();
    expect((await ask({})).status).toBe(401);
    expect((await ask(bearer(key))).status).toBe(200);
  });
});

describe('the official clients', () => {
  const asking = { model: 'tiny', messages: [{ role: 'user' as const, content: 'hi' }] };

  test('OpenAI’s: a good key goes through, a bad one and a hidden model are its own errors', async () => {
    const { key, record } = newKey({ models: ['default/tiny'] });
    useAccess(gateway, services(), { mode: 'required', keys: [record] });
    const client = (apiKey: string) => new OpenAI({ apiKey, baseURL: `${gateway.url}/v1`, maxRetries: 0 });
    expect((await client(key).models.list()).data.map(({ id }) => id)).toEqual(['tiny']);
    await client(key).chat.completions.create(asking);
    expect(backend.seen).toHaveLength(1);
    await expect(client('sk-wrong').chat.completions.create(asking)).rejects.toMatchObject({
      constructor: OpenAI.AuthenticationError,
      status: 401,
      code: 'invalid_api_key',
    });
    await expect(client(key).chat.completions.create({ ...asking, model: 'big' })).rejects.toMatchObject({
      constructor: OpenAI.PermissionDeniedError,
      status: 403,
      code: 'permission_denied',
      param: 'model',
    });
  });

  test('Anthropic’s: by its own header, and with its own error', async () => {
    const { key, record } = newKey();
    useAccess(gateway, services(), { mode: 'required', keys: [record] });
    const client = (apiKey: string) => new Anthropic({ apiKey, baseURL: gateway.url, maxRetries: 0 });
    const message = { ...asking, max_tokens: 5 };
    await client(key)
      .messages.create(message)
      .catch(() => undefined); // the stand-in's answer is no chat completion
    expect(backend.seen).toHaveLength(1);
    expect(backend.seen[0]?.headers['x-api-key']).toBeUndefined();
    await expect(client('wrong').messages.create(message)).rejects.toMatchObject({
      constructor: Anthropic.AuthenticationError,
      status: 401,
    });
  });
});

describe('what is remembered', () => {
  test('a good key is hashed once, however many made-up ones come in between', async () => {
    await gateway.close();
    gateway = await startTestGateway({ refusedMax: 20, knownKeysMax: 4 });
    const { key, record } = newKey();
    useAccess(gateway, services(), { mode: 'required', keys: [record] });
    await ask(bearer(key));
    const sights = 'muster_gateway_access_first_sights_total{kind="key"}';
    const before = await metric(sights);
    for (let index = 0; index < 100; index += 1) await ask(bearer(`made-up-${index}`));
    expect(await metric(sights)).toBe(before + 100);
    for (let time = 0; time < 5; time += 1) await ask({ 'x-api-key': key });
    for (let time = 0; time < 5; time += 1) await ask(bearer(key));
    expect(await metric(sights)).toBe(before + 101);
    expect(await metric('muster_gateway_access_known_keys')).toBe(2);
    expect(await metric('muster_gateway_access_refused_remembered')).toBe(20);
    expect(await metric('muster_gateway_access_refused_total{reason="unknown"}')).toBe(100);
    expect(await metric('muster_gateway_access_admitted_total{by="key"}')).toBe(11);
  });

  test('a refused key is hashed once for a while, and known again as soon as it is made', async () => {
    const { key, record } = newKey();
    useAccess(gateway, services(), { mode: 'required' });
    for (let time = 0; time < 5; time += 1) expect((await ask(bearer(key))).status).toBe(401);
    expect(await metric('muster_gateway_access_first_sights_total{kind="key"}')).toBe(1);
    useAccess(gateway, services(), { mode: 'required', keys: [record] });
    expect((await ask(bearer(key))).status).toBe(200);
  });

  test('a table with other endpoints and the same keys makes nobody be looked at again', async () => {
    const { key, record } = newKey();
    const access = { mode: 'required', keys: [record] } as const;
    useAccess(gateway, services(), { ...access, keys: [record] });
    expect((await ask(bearer(key))).status).toBe(200);
    for (let time = 0; time < 3; time += 1) {
      useAccess(gateway, services().slice(0, 1 + (time % 2)), { ...access, keys: [{ ...record }] });
      expect((await ask(bearer(key))).status).toBe(200);
    }
    expect(await metric('muster_gateway_access_first_sights_total{kind="key"}')).toBe(1);
    expect((await ask({})).status).toBe(401);
  });

  test('the log names the caller, and holds no credential', async () => {
    const { key, record } = newKey({ tenant: 'acme' });
    useAccess(gateway, services(), { mode: 'required', keys: [record] });
    await ask(bearer(key));
    await ask(bearer(`${key}x`));
    await until(() => gateway.logs.filter(({ msg }) => msg === 'request').length === 2);
    expect(gateway.logs).toContainEqual(
      expect.objectContaining({ caller: record.id, tenant: 'acme', status: 200 }),
    );
    expect(gateway.logs).toContainEqual(expect.objectContaining({ caller: '', refused: 'invalid_api_key' }));
    expect(JSON.stringify(gateway.logs)).not.toContain(key.slice(14));
  });
});
