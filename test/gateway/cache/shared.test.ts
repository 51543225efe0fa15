import { afterEach, beforeEach, describe, expect } from '@jest/globals';
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { startCachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import type { CachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import { ask, chatServer } from '../../fixtures/cache/openai-server.ts';
import type { ChatServer } from '../../fixtures/cache/openai-server.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { postJson } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { startRedis, withRedis as test } from '../../fixtures/redis.ts';
import type { RedisServer } from '../../fixtures/redis.ts';

const until = async (isSo: () => boolean | Promise<boolean>, what: string) => {
  for (let at = 0; at < 500; at += 1) {
    if (await isSo()) return;
    await sleep(10);
  }
  throw new Error(`never: ${what}`);
};

describe('answers shared in Redis', () => {
  let redis: RedisServer;
  let client: Redis;
  let backend: Backend;
  let server: ChatServer;
  let refuse: ((response: ServerResponse) => void) | null = null;
  let gateways: CachedGateway[] = [];
  beforeEach(async () => {
    redis = await startRedis();
    client = new Redis(redis.url, { retryStrategy: () => 50 });
    client.on('error', () => undefined);
    server = chatServer();
    refuse = null;
    backend = await startBackend((seen, response) => {
      if (refuse === null) server.respond(seen, response);
      else refuse(response);
    });
    gateways = [await start(), await start()];
  });
  afterEach(async () => {
    await Promise.all(gateways.map((gateway) => gateway.close()));
    client.disconnect();
    await backend.close();
    await redis.stop();
  });
  const services = () => [service('tiny', { ready: [backend.address] })];
  const start = async (cache: Record<string, unknown> = {}) => {
    const gateway = await startCachedGateway(redis.url);
    await until(() => gateway.redis?.isReady === true, 'Redis is ready');
    // A wait that a busy test machine keeps to: the bound itself has a test of its own.
    gateway.use(services(), { enabled: true, shared: { waitMs: 1_000 }, ...cache });
    return gateway;
  };
  const chat = (at: number, body: unknown = ask(), headers: Record<string, string> = {}) =>
    postJson(`${gateways[at]?.url ?? ''}/v1/chat/completions`, body, headers);
  const level = ({ headers }: { headers: Headers }) =>
    headers.get('x-muster-cache') === 'hit'
      ? headers.get('x-muster-cache-level')
      : headers.get('x-muster-cache');
  const written = (count: number) =>
    until(async () => (await client.dbsize()) === count, `${count} answers in Redis`);

  test('are found by every gateway, and kept in memory from then on', async () => {
    const first = await chat(0);
    await written(1);
    const second = await chat(1);
    expect([level(first), level(second), level(await chat(1))]).toEqual(['miss', 'shared', 'local']);
    expect(second.text).toBe(first.text);
    expect(server.count).toBe(1);
    expect(await gateways[1]?.metric('muster_gateway_cache_requests_total', { result: 'hit_shared' })).toBe(
      1,
    );
  });

  test('are found after a gateway begins anew', async () => {
    await chat(0, ask('hi', { stream: true, stream_options: { include_usage: true } }));
    await written(1);
    gateways.push(await start());
    expect(level(await chat(2))).toBe('shared');
  });

  test('live as long as they may', async () => {
    await chat(0);
    await written(1);
    const [key = ''] = await client.keys('*');
    expect(key).toMatch(/^muster:cache:1:[0-9a-f]{16}:[0-9a-f]{16}:[\w-]{43}$/);
    const ttl = await client.pttl(key);
    expect(ttl).toBeGreaterThan(3_500_000);
    expect(ttl).toBeLessThanOrEqual(3_600_000);
  });

  test('are no refusals: those are each gateway’s own', async () => {
    refuse = (response) => {
      response.writeHead(400, { 'content-type': 'application/json' });
      response.end('{"error":{"message":"no"}}');
    };
    expect([level(await chat(0)), level(await chat(0)), level(await chat(1))]).toEqual([
      'miss',
      'local',
      'miss',
    ]);
    expect(await client.dbsize()).toBe(0);
  });

  test.each([
    ['cut', (bytes: Buffer) => bytes.subarray(0, bytes.length - 1)],
    ['changed', (bytes: Buffer) => Buffer.concat([bytes.subarray(0, -2), Buffer.from('x}')])],
    ['replaced by something else', () => Buffer.from('hello')],
    ['replaced by something huge', () => Buffer.alloc(8 * 1024 * 1024, 1)],
    ['emptied', () => Buffer.alloc(0)],
  ])('count as absent when they were %s', async (_what, damage) => {
    await chat(0);
    await written(1);
    const [key = ''] = await client.keys('*');
    await client.set(key, damage((await client.getBuffer(key)) ?? Buffer.alloc(0)));
    const answer = await chat(1);
    expect([level(answer), answer.status]).toEqual(['miss', 200]);
  });

  test('count as absent when another kind of value or another answer lies there', async () => {
    await chat(0, ask('one'));
    await chat(0, ask('two'));
    await written(2);
    const [one = '', two = ''] = await client.keys('*');
    const [a, b] = [await client.getBuffer(one), await client.getBuffer(two)];
    await client.set(one, b ?? '');
    await client.set(two, a ?? '');
    expect([level(await chat(1, ask('one'))), level(await chat(1, ask('two')))]).toEqual(['miss', 'miss']);
    await client.del(one, two);
    await client.lpush(one, 'x');
    await client.lpush(two, 'x');
    gateways.push(await start());
    expect((await chat(2, ask('one'))).status).toBe(200);
  });

  test('are purged everywhere at once', async () => {
    await chat(0);
    await written(1);
    await chat(1);
    const purged = await postJson(`${gateways[0]?.url ?? ''}/v1/cache/purge`, { model: 'tiny' });
    expect(purged.body).toMatchObject({ local: 1, shared: 1 });
    expect(await client.dbsize()).toBe(0);
    await until(
      async () => (await gateways[1]?.metric('muster_gateway_cache_entries')) === 0,
      'the other gateway forgets',
    );
    expect(level(await chat(1))).toBe('miss');
  });

  test('that were there before a purge are not found while it is under way', async () => {
    await chat(0);
    await written(1);
    const [key = ''] = await client.keys('*');
    const bytes = (await client.getBuffer(key)) ?? Buffer.alloc(0);
    const purging = postJson(`${gateways[0]?.url ?? ''}/v1/cache/purge`, { model: 'tiny' });
    await until(async () => (await client.exists(key)) === 0, 'it is removed');
    await client.set(key, bytes); // a write that was on its way
    expect(level(await chat(0))).toBe('miss');
    expect((await purging).body).toMatchObject({ local: 1 });
    const kept = await client.getBuffer(key);
    expect(kept?.equals(bytes)).not.toBe(true);
  });

  test('of an old revision are never found after a rollout', async () => {
    await chat(0);
    await written(1);
    const targets = [
      {
        revision: 'r2',
        percent: 100,
        endpoints: [{ address: backend.address, revision: 'r2', ready: true }],
      },
    ];
    for (const gateway of gateways) gateway.use([service('tiny', { targets })], { enabled: true });
    expect(level(await chat(1))).toBe('miss');
  });

  test('are asked for by one gateway at a time where there is a lock', async () => {
    server = chatServer(150);
    for (const gateway of gateways)
      gateway.use(services(), { enabled: true, shared: { waitMs: 1_000, lockMs: 5_000 } });
    const answers = await Promise.all(Array.from({ length: 20 }, (_, at) => chat(at % 2)));
    expect(server.count).toBe(1);
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    await written(1); // the lock is gone
  });

  test('are asked for after a lock whose holder is gone', async () => {
    for (const gateway of gateways)
      gateway.use(services(), { enabled: true, shared: { waitMs: 1_000, lockMs: 200 } });
    await chat(0);
    await written(1);
    const [key = ''] = await client.keys('*');
    await client.del(key);
    await client.set(`${key}:lock`, '1', 'PX', 60_000);
    expect((await chat(1)).status).toBe(200);
  });

  test('are asked for as soon as a lock is let go that brought none', async () => {
    let failNow = () => undefined as unknown;
    refuse = (response) => {
      failNow = () => response.writeHead(500, { 'content-type': 'application/json' }).end('{}');
    };
    for (const gateway of gateways)
      gateway.use(services(), { enabled: true, shared: { waitMs: 1_000, lockMs: 60_000 } });
    const first = chat(0);
    await until(() => backend.seen.length === 1, 'the first asks');
    const second = chat(1);
    const isTold = async () => (await client.info('commandstats')).includes('cmdstat_set:calls=2,');
    await until(isTold, 'the other hears that it is locked');
    refuse = null;
    failNow();
    expect([level(await first), level(await second)]).toEqual(['miss', 'miss']);
    expect((await second).status).toBe(200);
  }, 20_000);

  test('are written before their lock is let go', async () => {
    const monitor = await client.monitor();
    const commands: string[] = [];
    monitor.on('monitor', (_time: string, [name = '', ...args]: string[]) => {
      commands.push(`${name.toLowerCase()} ${args.join(' ')}`);
    });
    const isUnlock = (command: string) => /^(?:evalsha|eval) .*:lock/.test(command);
    const isWrite = (command: string) =>
      command.startsWith('set muster:cache:') && !command.includes(':lock');
    // What is compressed first is sent late.
    gateways[0]?.use(services(), {
      enabled: true,
      shared: { waitMs: 1_000, lockMs: 5_000, compressBytesMin: 0 },
    });
    await chat(0);
    await until(() => commands.some(isUnlock) && commands.some(isWrite), 'written and unlocked');
    monitor.disconnect();
    expect(commands.findIndex(isUnlock)).toBeGreaterThan(commands.findIndex(isWrite));
  });

  test('are unlocked by who locked them alone: a lock that ran out may be another gateway’s by then', async () => {
    server = chatServer(600);
    gateways[0]?.use(services(), { enabled: true, shared: { waitMs: 1_000, lockMs: 100 } });
    const asked = chat(0);
    let lock = '';
    await until(async () => {
      [lock = ''] = await client.keys('*:lock');
      return lock !== '';
    }, 'it is locked');
    await until(async () => (await client.set(lock, 'another', 'PX', 60_000, 'NX')) === 'OK', 'it ran out');
    expect((await asked).status).toBe(200);
    await written(2);
    await chat(0, ask('another')); // by its answer, what came before it has reached Redis
    expect(await client.get(lock)).toBe('another');
  });

  describe('when Redis', () => {
    test('is killed under load, nobody notices but by misses', async () => {
      let isOver = false;
      const statuses: number[] = [];
      const load = async (at: number) => {
        for (let n = 0; !isOver; n += 1) {
          const { status } = await chat(at % 2, ask(`${at} ${n}`));
          statuses.push(status);
        }
      };
      const loads = Array.from({ length: 8 }, (_, at) => load(at));
      await sleep(200);
      await redis.kill();
      const before = statuses.length;
      await sleep(300);
      expect(statuses.length).toBeGreaterThan(before);
      await redis.restart(); // empty
      await sleep(300);
      isOver = true;
      await Promise.all(loads);
      expect(statuses.filter((status) => status !== 200)).toEqual([]);
      await until(() => gateways[0]?.redis?.isReady === true, 'Redis is back');
      const keys = await client.dbsize();
      await chat(0, ask('after all'));
      await until(async () => (await client.dbsize()) > keys, 'it is written to again');
    });

    test('hangs, a request waits once and little, then Redis is left alone', async () => {
      const gateway = gateways[0];
      gateway?.use(services(), { enabled: true, shared: { waitMs: 20, failuresMax: 3, restMs: 60_000 } });
      redis.pause();
      for (let at = 0; at < 10; at += 1) expect((await chat(0, ask(`q${at}`))).status).toBe(200);
      const timeouts = await gateway?.metric('muster_gateway_cache_shared_events_total', {
        event: 'timeouts',
      });
      expect(timeouts).toBeGreaterThan(0);
      expect(timeouts).toBeLessThanOrEqual(3);
      expect(await gateway?.metric('muster_gateway_cache_shared_up')).toBe(0);
      expect(level(await chat(0, ask('q3')))).toBe('local');
      redis.resume();
    });

    test('wakes up, it is used again', async () => {
      gateways[0]?.use(services(), { enabled: true, shared: { waitMs: 20, failuresMax: 1, restMs: 50 } });
      redis.pause();
      await chat(0, ask('while away'));
      redis.resume();
      await until(
        async () => (await gateways[0]?.metric('muster_gateway_cache_shared_up')) === 1,
        'it is up',
      );
      await chat(0, ask('back'));
      await until(async () => (await client.keys('*')).length > 0, 'it is written to');
    });

    test('is not there at all, the cache is in memory alone', async () => {
      await redis.kill();
      const gateway = await startCachedGateway(redis.url);
      gateways.push(gateway);
      gateway.use(services(), { enabled: true });
      expect([level(await chat(2)), level(await chat(2))]).toEqual(['miss', 'local']);
      await redis.restart();
      await until(() => gateway.redis?.isReady === true, 'Redis comes');
    });

    test('is not wanted by the policy, nothing is written', async () => {
      for (const gateway of gateways) gateway.use(services(), { enabled: true, shared: { enabled: false } });
      await chat(0);
      await sleep(50);
      expect(level(await chat(1))).toBe('miss');
      expect(await client.dbsize()).toBe(0);
    });
  });
});
