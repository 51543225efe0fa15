import { afterEach, beforeEach, describe, expect } from '@jest/globals';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { registerRedisMetrics } from '../../../gateway/redis/redis-metrics.ts';
import { SharedRedis, redisScript } from '../../../gateway/redis/shared-redis.ts';
import { startRedis, withRedis } from '../../fixtures/redis.ts';
import { startSilentProxy } from '../../fixtures/silent-proxy.ts';
import type { SilentProxy } from '../../fixtures/silent-proxy.ts';
import type { RedisServer } from '../../fixtures/redis.ts';
import { until } from '../../fixtures/gateway/control-api.ts';

const logger = pino({ level: 'silent' });
let server: RedisServer;
let redis: SharedRedis;

beforeEach(async () => {
  server = await startRedis();
  redis = new SharedRedis({ url: server.url, logger, commandMs: 100, probeMs: 20, reconnectMsMax: 50 });
  redis.start();
  await until(() => redis.isReady);
});

afterEach(async () => {
  redis.close();
  server.resume();
  await server.stop();
});

/** How many heard it; 0, too, when Redis was later than `redis` waits, as it may be beside other tests. */
const publish = async (news: string): Promise<number> =>
  (await redis.ask((client) => client.publish('news', news))) ?? 0;

describe('the shared Redis client', () => {
  withRedis('answers commands and scripts, and sends a script again that Redis forgot', async () => {
    const script = redisScript(`return redis.call('INCRBY', KEYS[1], ARGV[1])`);
    expect(await redis.run(script, ['n'], [2])).toBe(2);
    await redis.client.script('FLUSH');
    expect(await redis.run(script, ['n'], [3])).toBe(5);
    expect(await redis.ask((client) => client.get('n'))).toBe('5');
  });

  withRedis('gives undefined and counts when Redis answers with an error', async () => {
    await redis.client.set('text', 'x');
    expect(await redis.ask((client) => client.incr('text'))).toBeUndefined();
    expect(redis.failures.reply).toBe(1);
    expect(redis.isReady).toBe(true);
  });

  withRedis('fails commands at once while Redis is gone, and comes back by itself', async () => {
    await server.kill();
    await until(() => !redis.isReady);
    expect(await redis.ask((client) => client.get('n'))).toBeUndefined();
    await server.restart();
    await until(() => redis.isReady);
    expect(await redis.ask((client) => client.set('n', '1'))).toBe('OK');
    expect(redis.connects).toBe(2);
  });

  withRedis('counts as away after one command ran out of time, until a probe is answered', async () => {
    let ready = 0;
    redis.onReady(() => {
      ready += 1;
    });
    expect(ready).toBe(1);
    server.pause();
    const asked = await Promise.all([redis.ask((c) => c.get('n')), redis.ask((c) => c.get('n'))]);
    expect(asked).toEqual([undefined, undefined]);
    expect(redis.isReady).toBe(false);
    const { timeout } = redis.failures;
    expect(await redis.ask((client) => client.get('n'))).toBeUndefined();
    expect(redis.failures.timeout).toBe(timeout);
    server.resume();
    await until(() => redis.isReady);
    expect(await redis.ask((client) => client.ping())).toBe('PONG');
    expect(ready).toBe(2);
  });

  withRedis('says in the log what Redis refused, once, and nothing of what was sent', async () => {
    const lines: string[] = [];
    const heard = pino({}, { write: (line: string) => void lines.push(line) });
    await redis.client.config('SET', 'maxmemory', '1');
    const full = new SharedRedis({ url: server.url, logger: heard });
    full.start();
    await until(() => full.isReady);
    for (let n = 0; n < 5; n += 1)
      await full.ask((client) => client.set('n', Buffer.from('a tenant said so')));
    full.close();
    expect(full.failures.reply).toBe(5);
    const refused = lines.filter((line) => line.includes('refused'));
    expect(refused).toHaveLength(1);
    expect(JSON.parse(refused[0]!)).toMatchObject({ command: 'set', why: expect.stringContaining('OOM') });
    expect(refused[0]!.length).toBeLessThan(400);

    const wrong = new SharedRedis({
      url: server.url.replace('redis://', 'redis://default:s3cret@'),
      logger: heard,
    });
    await redis.client.config('SET', 'requirepass', 'right');
    wrong.start();
    await until(() => lines.some((line) => line.includes('cannot be reached')));
    wrong.close();
    expect(lines.join('')).not.toContain('s3cret');
  });

  withRedis('takes a refused probe for an answer', async () => {
    await redis.client.acl('SETUSER', 'default', '-ping');
    server.pause();
    expect(await redis.ask((client) => client.get('n'))).toBeUndefined();
    expect(redis.isReady).toBe(false);
    server.resume();
    await until(() => redis.isReady);
    expect(await redis.ask((client) => client.set('n', '1'))).toBe('OK');
  });

  withRedis('finds a Redis again that hung until its connections were given up', async () => {
    const heard: string[] = [];
    const patient = new SharedRedis({ url: server.url, logger, commandMs: 100, probeMs: 20, hearingMs: 20 });
    patient.hear('news', (text) => heard.push(text));
    patient.start();
    await until(() => patient.isReady);
    server.pause();
    expect(await patient.ask((client) => client.get('n'))).toBeUndefined();
    await until(() => patient.client.status === 'reconnecting');
    server.resume();
    await until(() => patient.isReady);
    await until(async () => {
      await patient.ask((client) => client.publish('news', 'one'));
      return heard.length > 0;
    });
    patient.close();
  });

  withRedis('does not send a command a second time after the connection broke', async () => {
    const hung = redis.ask((client) => client.blpop('never', 0));
    await server.kill();
    expect(await hung).toBeUndefined();
    expect(redis.failures.connection + redis.failures.timeout).toBe(1);
  });

  withRedis('starts without Redis, and finds it when it comes', async () => {
    await server.kill();
    const late = new SharedRedis({ url: server.url, logger, reconnectMsMax: 50 });
    late.start();
    expect(await late.ask((client) => client.ping())).toBeUndefined();
    await server.restart();
    await until(() => late.isReady);
    late.close();
  });

  withRedis('subscribes over a connection of its own, also after Redis was killed', async () => {
    const heard: string[] = [];
    redis.hear('news', (text) => heard.push(text));
    await until(async () => (await publish('one')) > 0);
    await until(() => heard.includes('one'));
    await server.restart();
    await until(async () => (await publish('two')) > 0);
    await until(() => heard.includes('two'));
  });

  withRedis('hears again what it was refused for a while, and no failure ends the process', async () => {
    const heard: string[] = [];
    redis.hear('news', (text) => heard.push(text));
    redis.hear('other news', (text) => heard.push(text));
    await until(async () => (await redis.client.publish('other news', 'one')) > 0);
    await redis.client.acl('SETUSER', 'default', 'resetchannels');
    await redis.client.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await until(() => redis.failures.reply > 1); // asked for more than once
    await redis.client.acl('SETUSER', 'default', 'allchannels');
    await until(async () => (await redis.client.publish('news', 'two')) > 0);
    await until(() => heard.includes('two'));
    expect(heard).toEqual(['one', 'two']);
  });

  withRedis('may be closed while its channels are being asked for', async () => {
    for (let at = 0; at < 20; at += 1) {
      const short = new SharedRedis({ url: server.url, logger, reconnectMsMax: 50 });
      short.hear('news', () => undefined);
      short.start();
      const killing = redis.client.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
      await until(() => short.isReady);
      short.close();
      await killing;
    }
    await until(async () => (await redis.client.pubsub('NUMSUB', 'news'))[1] === 0);
  });

  withRedis('tells its state as metrics', async () => {
    const registry = new Registry();
    registerRedisMetrics(registry, redis);
    expect(await registry.metrics()).toContain('muster_gateway_redis_up 1');
    await redis.ask((client) => client.eval('return redis.error_reply("no")', 0));
    const text = await registry.metrics();
    expect(text).toContain('muster_gateway_redis_errors_total{kind="reply"} 1');
    expect(text).toContain('muster_gateway_redis_connects_total 1');
  });
});

describe('a connection to Redis that dies without a word', () => {
  let proxy: SilentProxy;
  let far: SharedRedis;
  const connections = async () => /connections_received:(\d+)/.exec(await redis.client.info('stats'))?.[1];

  beforeEach(async () => {
    proxy = await startSilentProxy(Number(new URL(server.url).port));
    const url = `redis://127.0.0.1:${proxy.port}`;
    far = new SharedRedis({ url, logger, commandMs: 100, probeMs: 20, reconnectMsMax: 50, hearingMs: 20 });
  });
  afterEach(async () => {
    far.close();
    await proxy.stop();
  });

  withRedis('is given up after some probes, and Redis is found again over another', async () => {
    far.start();
    await until(() => far.isReady);
    for (const connects of [1, 2]) {
      proxy.swallow();
      expect(await far.ask((client) => client.ping())).toBeUndefined();
      expect(far.isReady).toBe(false);
      await until(() => far.isReady);
      await until(async () => (await far.ask((client) => client.set('n', '1'))) === 'OK');
      expect(far.connects).toBeGreaterThan(connects);
    }
  });

  withRedis('is given up by those that only hear, too', async () => {
    const heard: string[] = [];
    far.hear('news', (text) => heard.push(text));
    await until(async () => (await publish('one')) > 0);
    for (const text of ['two', 'three']) {
      proxy.swallow();
      await until(async () => {
        await publish(text);
        return heard.includes(text);
      });
    }
    expect(far.failures.timeout).toBeGreaterThan(0);
  });

  withRedis('is not taken for one that is quiet, nor for one that is refused a ping', async () => {
    const pings = async () =>
      /cmdstat_ping:calls=(\d+),.*rejected_calls=(\d+)/.exec(await redis.client.info('commandstats'));
    const quiet = new SharedRedis({ url: server.url, logger, commandMs: 10_000, hearingMs: 20 });
    quiet.hear('news', () => undefined);
    await until(async () => Number((await pings())?.[1]) > 3);
    const before = await connections();
    await redis.client.acl('SETUSER', 'default', '-ping');
    await until(async () => Number((await pings())?.[2]) > 3);
    expect(await connections()).toBe(before);
    quiet.close();
  });
});
