import { afterEach, describe, expect, test } from '@jest/globals';
import { startCountingGateway } from '../../fixtures/budget/counting-gateway.ts';
import type { CountingGateway } from '../../fixtures/budget/counting-gateway.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get, postJson } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { startRedis, withRedis } from '../../fixtures/redis.ts';
import type { RedisServer } from '../../fixtures/redis.ts';

let gateways: CountingGateway[] = [];
let backend: Backend | null = null;
let redis: RedisServer | null = null;
afterEach(async () => {
  for (const gateway of gateways) await gateway.close();
  await backend?.close();
  await redis?.stop();
  gateways = [];
  [backend, redis] = [null, null];
});

async function start(
  rateLimits: object[],
  options: { redisUrl?: string; gatewayId?: string } = {},
): Promise<CountingGateway> {
  const text = JSON.stringify({ choices: [], usage: { prompt_tokens: 60, completion_tokens: 40 } });
  backend ??= await startBackend((_seen, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': text.length });
    response.end(text);
  });
  const policy = { usage: { unsaidOutputTokens: 4 }, rateLimits };
  const gateway = await startCountingGateway(
    [service('chat', { ready: [backend.address] })],
    policy,
    options,
  );
  gateways.push(gateway);
  return gateway;
}

const ask = (gateway: CountingGateway, more: object = {}) =>
  postJson(`${gateway.url}/v1/chat/completions`, { model: 'chat', ...more });

describe('a rate limit', () => {
  test('of requests lets them pass, says what is left as OpenAI does, and refuses with the time to wait', async () => {
    const gateway = await start([{ id: 'rpm', requestsPerMinute: 3 }]);
    const { headers } = await ask(gateway);
    expect(headers.get('x-ratelimit-limit-requests')).toBe('3');
    expect(headers.get('x-ratelimit-remaining-requests')).toBe('2');
    expect(headers.get('x-ratelimit-reset-requests')).toMatch(/^(19|20)(\.\d+)?s$/);
    expect(headers.get('x-ratelimit-limit-tokens')).toBeNull();
    await ask(gateway);
    await ask(gateway);
    const refused = await ask(gateway);
    expect(refused.status).toBe(429);
    expect(refused.body).toMatchObject({ error: { code: 'rate_limit_exceeded' } });
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(19);
    expect(refused.headers.get('x-ratelimit-remaining-requests')).toBe('0');
    expect(backend!.seen).toHaveLength(3);
    const { text } = await get(`${gateway.url}/metrics`);
    expect(text).toContain('muster_gateway_rate_limit_refused{limit="rpm"} 1\n');
    expect(text).toContain('muster_gateway_rate_limit_buckets 1\n');
  });

  test('of tokens takes what answers used, and not what was set aside for them', async () => {
    const gateway = await start([{ id: 'tpm', tokensPerMinute: 250 }]);
    const first = await ask(gateway);
    expect(first.headers.get('x-ratelimit-limit-tokens')).toBe('250');
    // Each uses 100, and sets 8 aside.
    expect((await ask(gateway)).status).toBe(200);
    expect((await ask(gateway)).status).toBe(200);
    const refused = await ask(gateway);
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).not.toBeNull();
  });

  test('of its own for each model, or for those that it names alone', async () => {
    const gateway = await start([
      { id: 'each', per: 'model', requestsPerMinute: 1 },
      { id: 'other', match: { model: 'other' }, requestsPerMinute: 1 },
    ]);
    gateway.use(
      [service('chat', { ready: [backend!.address] }), service('other', { ready: [backend!.address] })],
      { rateLimits: [{ id: 'each', per: 'model', requestsPerMinute: 1 }] },
    );
    expect((await ask(gateway)).status).toBe(200);
    expect((await ask(gateway, { model: 'other' })).status).toBe(200);
    expect((await ask(gateway)).status).toBe(429);
    expect((await ask(gateway, { model: 'other' })).status).toBe(429);
  });

  test('that only looks on refuses nothing, and says what it would have refused', async () => {
    const gateway = await start([{ id: 'look', requestsPerMinute: 1, mode: 'shadow' }]);
    await ask(gateway);
    const second = await ask(gateway);
    expect(second.status).toBe(200);
    expect(second.headers.get('x-muster-rate-limit-shadow')).toBe('look');
    expect(second.headers.get('x-ratelimit-limit-requests')).toBeNull();
    expect((await get(`${gateway.url}/metrics`)).text).toContain('rate_limit_would_refuse{limit="look"} 1');
  });

  withRedis('is divided by the gateways that share Redis, and whole again when one is gone', async () => {
    redis = await startRedis();
    const limits = [{ id: 'rpm', requestsPerMinute: 8 }];
    const one = await start(limits, { redisUrl: redis.url, gatewayId: 'one' });
    const two = await start(limits, { redisUrl: redis.url, gatewayId: 'two' });
    await until(() => one.accounting.count.value === 2 && two.accounting.count.value === 2);
    expect((await ask(one)).headers.get('x-ratelimit-remaining-requests')).toBe('3');
    await two.accounting.close();
    await until(() => one.accounting.count.value === 1);
    await redis.kill();
    expect((await ask(one)).status).toBe(200);
  });
});
