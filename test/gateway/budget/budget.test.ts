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
  redis?.resume();
  for (const gateway of gateways) await gateway.close();
  await backend?.close();
  await redis?.stop();
  gateways = [];
  [backend, redis] = [null, null];
});

/** Each answer uses 10 tokens: 6 and 4. */
async function startAnswering(): Promise<Backend> {
  const text = JSON.stringify({ choices: [], usage: { prompt_tokens: 6, completion_tokens: 4 } });
  backend = await startBackend((_seen, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': text.length });
    response.end(text);
  });
  return backend;
}

async function start(
  budgets: object[],
  more: object = {},
  options: { redisUrl?: string; gatewayId?: string } = {},
): Promise<CountingGateway> {
  const made = backend ?? (await startAnswering());
  const policy = { usage: { unsaidOutputTokens: 4 }, budgets, ...more };
  const gateway = await startCountingGateway([service('chat', { ready: [made.address] })], policy, options);
  gateways.push(gateway);
  return gateway;
}

const ask = (gateway: CountingGateway, more: object = {}) =>
  postJson(`${gateway.url}/v1/chat/completions`, { model: 'chat', ...more });

/** Asks one after the other until a refusal. @returns how many were answered */
async function askUntilRefused(gateway: CountingGateway, max = 500): Promise<number> {
  for (let answered = 0; answered < max; answered += 1)
    if ((await ask(gateway)).status !== 200) return answered;
  return max;
}

describe('a budget', () => {
  test('serves until it is used up, then refuses with the time at which it begins anew', async () => {
    const gateway = await start([{ id: 'all', period: 'day', limitTokens: 100 }]);
    expect(await askUntilRefused(gateway)).toBe(10);
    const { status, headers, body } = await ask(gateway);
    expect(status).toBe(429);
    const { error } = body as { error: { code: string; message: string } };
    expect(error.code).toBe('insufficient_quota');
    expect(error.message).toMatch(/^The budget 'all' does not cover .* anew at .*T00:00:00.000Z\.$/);
    const seconds = Number(headers.get('retry-after'));
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThanOrEqual(86_400);
    expect(backend!.seen.length).toBe(10);
  });

  test('counts money as it counts tokens', async () => {
    const prices = { models: [{ model: '*', inputPerMillion: 500_000, perRequest: 7 }] };
    const gateway = await start([{ id: 'all', period: 'month', limitCostMicros: 45 }], { prices });
    // 6 tokens at half a micro-unit and 7: 10 for each.
    expect(await askUntilRefused(gateway)).toBe(4);
  });

  test('has nothing to do with other models, keys and namespaces', async () => {
    const gateway = await start([
      { id: 'other-model', period: 'day', limitTokens: 0, match: { model: 'other' } },
      { id: 'other-key', period: 'day', limitTokens: 0, match: { key: 'k' } },
      { id: 'other-space', period: 'day', limitTokens: 0, match: { namespace: 'x' } },
    ]);
    expect((await ask(gateway)).status).toBe(200);
  });

  test.each(['chat', 'default/chat'])(
    'of %s, a service with models of its own, counts them',
    async (model) => {
      const gateway = await start([{ id: 'all', period: 'day', limitTokens: 0, match: { model } }]);
      gateway.use([service('chat', { ready: [backend!.address], models: ['small', 'large'] })], {
        budgets: [{ id: 'all', period: 'day', limitTokens: 0, match: { model } }],
      });
      for (const named of ['small', 'large']) expect((await ask(gateway, { model: named })).status).toBe(429);
    },
  );

  test('sets aside what a request may use, and takes what it used', async () => {
    const gateway = await start([{ id: 'all', period: 'day', limitTokens: 100 }]);
    expect((await ask(gateway, { max_tokens: 95 })).status).toBe(429);
    expect((await ask(gateway, { max_tokens: 80 })).status).toBe(200);
    // 90 are left.
    expect((await ask(gateway, { max_tokens: 80 })).status).toBe(200);
    expect((await ask(gateway, { max_tokens: 80 })).status).toBe(429);
  });

  test('gives back all of what was set aside for a request that failed', async () => {
    const dead = await startBackend((_seen, response) => {
      response.writeHead(500, { 'content-length': 0 }).end();
    });
    backend = dead;
    const gateway = await start([{ id: 'all', period: 'day', limitTokens: 100 }]);
    for (let count = 0; count < 30; count += 1)
      expect((await ask(gateway, { max_tokens: 80 })).status).toBe(500);
  });

  test('that only looks on refuses nothing, and says what it would have refused', async () => {
    const gateway = await start([{ id: 'look', period: 'day', limitTokens: 20, mode: 'shadow' }]);
    const answers = [];
    for (let count = 0; count < 4; count += 1) answers.push(await ask(gateway));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    await until(async () => (await ask(gateway)).headers.get('x-muster-budget-shadow') === 'look');
    const { text } = await get(`${gateway.url}/metrics`);
    expect(text).toMatch(/muster_gateway_budget_would_refuse\{budget="look"\} [1-9]/);
    expect(text).toContain('muster_gateway_budget_refused{budget="look"} 0');
    expect(text).toContain('muster_gateway_budget_waiting{budget="look"} 0');
  });

  test('that is raised serves again at once, and remembers what was spent', async () => {
    const gateway = await start([{ id: 'all', period: 'day', limitTokens: 100 }]);
    await askUntilRefused(gateway);
    gateway.use([service('chat', { ready: [backend!.address] })], {
      usage: { unsaidOutputTokens: 4 },
      budgets: [{ id: 'all', period: 'day', limitTokens: 130 }],
    });
    expect(await askUntilRefused(gateway)).toBe(3);
  });

  test('lets requests wait for their slice and serves them all, when they come at once', async () => {
    const gateway = await start([{ id: 'all', period: 'day', limitTokens: 10_000, sliceTokens: 15 }]);
    const answers = await Promise.all(Array.from({ length: 60 }, () => ask(gateway)));
    expect(answers.filter(({ status }) => status !== 200)).toEqual([]);
  });

  test('tells its state and its bound as metrics', async () => {
    const gateway = await start([{ id: 'all', period: 'day', limitTokens: 1_000, sliceTokens: 100 }]);
    await ask(gateway); // 8 tokens were set aside, 10 were used
    await until(async () => {
      const { text } = await get(`${gateway.url}/metrics`);
      const outstanding = /budget_outstanding\{budget="all",unit="tokens"\} (\d+)/.exec(text)?.[1];
      const bound = /budget_overspend_bound\{budget="all",unit="tokens"\} (\d+)/.exec(text)?.[1];
      return (
        Number(outstanding) > 0 && Number(outstanding) <= 110 && Number(bound) === Number(outstanding) + 2
      );
    });
  });
});

describe('a budget of several gateways', () => {
  const budgets = [{ id: 'all', period: 'total', limitTokens: 1_000, sliceTokens: 50 }];
  const spent = () => gateways.reduce((sum, { used }) => sum + used.length * 10, 0);
  const pair = async (): Promise<void> => {
    redis = await startRedis();
    await start(budgets, {}, { redisUrl: redis.url, gatewayId: 'one' });
    await start(budgets, {}, { redisUrl: redis.url, gatewayId: 'two' });
  };

  withRedis('is kept to the token by them together, and used up but for the last crumbs', async () => {
    await pair();
    const answered = await Promise.all(gateways.map((gateway) => askUntilRefused(gateway)));
    expect(answered[0]! + answered[1]!).toBeLessThanOrEqual(100);
    expect(answered[0]! + answered[1]!).toBeGreaterThanOrEqual(90);
  });

  withRedis('goes on from what was heard last when Redis is gone, and no client sees an error', async () => {
    await pair();
    await until(() => gateways.every(({ accounting }) => accounting.count.value === 2));
    for (let count = 0; count < 20; count += 1) for (const gateway of gateways) await ask(gateway);
    await redis!.kill();
    const answered = await Promise.all(gateways.map((gateway) => askUntilRefused(gateway)));
    expect(Math.min(...answered)).toBeGreaterThan(5);
    await until(() => spent() === backend!.seen.length * 10);
    // What one had heard of the other may be one slice old, and each takes half of what it believes is left.
    expect(spent()).toBeLessThanOrEqual(1_000 + 2 * 50);
    await redis!.restart();
    await until(() => gateways.every((gateway) => gateway.redis?.isReady === true));
    const before = spent();
    await Promise.all(gateways.map((gateway) => askUntilRefused(gateway, 50)));
    expect(spent() - before).toBeLessThanOrEqual(Math.max(0, 1_000 - before) + 100);
  });

  withRedis('is not held up by a Redis that hangs', async () => {
    await pair();
    await ask(gateways[0]!);
    redis!.pause();
    for (const gateway of gateways) expect((await ask(gateway)).status).toBe(200);
    expect(await askUntilRefused(gateways[0]!, 30)).toBeGreaterThan(3);
  });

  withRedis('gives what a gateway leaves behind to the others', async () => {
    await pair();
    const [one, two] = gateways as [CountingGateway, CountingGateway];
    await ask(one);
    await one.accounting.close();
    expect(await askUntilRefused(two)).toBe(99);
  });
});
