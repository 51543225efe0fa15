import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { hash } from 'node:crypto';
import { startCachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import type { CachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import { ask, chatServer } from '../../fixtures/cache/openai-server.ts';
import type { ChatServer } from '../../fixtures/cache/openai-server.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { postJson } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

const key = (id: string, more: Record<string, unknown> = {}) => ({
  id,
  sha256: hash('sha256', `secret-${id}`, 'hex'),
  ...more,
});

describe('who gets whose answers', () => {
  let gateway: CachedGateway;
  let backend: Backend;
  let server: ChatServer;
  beforeEach(async () => {
    gateway = await startCachedGateway();
    server = chatServer(150);
    backend = await startBackend(server.respond);
  });
  afterEach(async () => {
    await gateway.close();
    await backend.close();
  });
  const use = (cache: Record<string, unknown> = {}, keys = true) => {
    const access = {
      mode: 'required',
      keys: [
        key('ann', { tenant: 'acme' }),
        key('bob', { tenant: 'acme', scopes: ['infer', 'admin'] }),
        key('eve', { tenant: 'evil' }),
        key('one', {}),
        key('two', {}),
        key('low', { tenant: 'acme', tier: 'best-effort' }),
        key('high', { tenant: 'acme', tier: 'critical' }),
        key('none', { tenant: 'acme', models: ['default/other'] }),
      ],
    };
    gateway.use(
      [service('tiny', { ready: [backend.address] })],
      { enabled: true, ...cache },
      keys ? { access } : {},
    );
  };
  const chat = async (who: string, body: unknown = ask()) =>
    postJson(`${gateway.url}/v1/chat/completions`, body, { authorization: `Bearer secret-${who}` });
  const state = async (who: string, body?: unknown) => (await chat(who, body)).headers.get('x-muster-cache');

  test('one tenant, whatever the key', async () => {
    use();
    expect([await state('ann'), await state('bob')]).toEqual(['miss', 'hit']);
  });

  test('never another tenant, nor a key without one, nor who may not ask this model', async () => {
    use();
    await chat('ann');
    expect([await state('eve'), await state('one'), await state('two'), await state('one')]).toEqual([
      'miss',
      'miss',
      'miss',
      'hit',
    ]);
    expect((await chat('none')).status).toBeGreaterThanOrEqual(403);
    expect((await chat('nobody')).status).toBe(401);
  });

  test('nor at the same time: two tenants that ask for the same are two calls', async () => {
    use();
    const answers = await Promise.all([chat('ann'), chat('eve'), chat('bob'), chat('eve')]);
    expect(server.count).toBe(2);
    expect(answers[0].text).toBe(answers[2].text);
    expect(answers[0].text).not.toBe(answers[1].text);
  });

  test('all of them where the policy shares', async () => {
    use({ scope: 'shared' });
    expect([await state('ann'), await state('eve'), await state('one')]).toEqual(['miss', 'hit', 'hit']);
  });

  test('of callers whom only the server knows, who shows the same credential', async () => {
    use({}, false);
    expect([await state('x'), await state('y'), await state('x')]).toEqual(['miss', 'miss', 'hit']);
  });

  test('a request does not wait for one of a lower tier, but for one of a higher', async () => {
    use();
    const low = chat('low');
    await until(() => server.count === 1);
    const high = chat('high');
    await until(() => server.count === 2);
    const answers = await Promise.all([low, high, chat('ann')]);
    expect(server.count).toBe(2);
    expect(answers[2].text).toBe(answers[1].text);
  });

  test('only who may administer may purge', async () => {
    use();
    await chat('ann');
    const purge = (who: string) =>
      postJson(`${gateway.url}/v1/cache/purge`, { model: 'tiny' }, { authorization: `Bearer secret-${who}` });
    expect((await purge('ann')).status).toBe(403);
    expect(await state('ann')).toBe('hit');
    expect((await purge('bob')).status).toBe(200);
    expect(await state('ann')).toBe('miss');
  });

  test('what it saves is counted', async () => {
    use();
    await chat('ann');
    await chat('ann');
    expect(await gateway.metric('muster_gateway_cache_saved_tokens_total', { kind: 'input' })).toBe(7);
    expect(await gateway.metric('muster_gateway_cache_saved_tokens_total', { kind: 'output' })).toBe(3);
  });
});
