import { afterEach, beforeEach, describe, expect } from '@jest/globals';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { Peers } from '../../../gateway/peers/peers.ts';
import { formatMessage } from '../../../gateway/peers/peer-message.ts';
import { SharedRedis } from '../../../gateway/redis/shared-redis.ts';
import { Endpoints } from '../../../gateway/upstream/endpoints.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { startRedis, withRedis } from '../../fixtures/redis.ts';
import type { RedisServer } from '../../fixtures/redis.ts';

const options = { everyMs: 10, allEveryMs: 50, silenceMsMax: 300 };
const addresses = ['http://127.0.0.1:1', 'http://127.0.0.1:2'] as const;
const channel = 'muster:gateway:peers:1';

/** What a gateway process has of it, without its port. */
interface Member {
  readonly endpoints: Endpoints;
  readonly peers: Peers;
  readonly redis: SharedRedis;
  readonly registry: Registry;
}

describe('gateways that share a Redis', () => {
  let server: RedisServer;
  let members: Member[] = [];
  beforeEach(async () => {
    server = await startRedis();
  });
  afterEach(async () => {
    server.resume();
    for (const { peers, redis, endpoints } of members) {
      peers.close();
      redis.close();
      endpoints.close();
    }
    members = [];
    await server.stop();
  });

  async function join(more: Partial<typeof options & { peersMax: number }> = {}): Promise<Member> {
    const redis = new SharedRedis({
      url: server.url,
      logger: pino({ level: 'silent' }),
      probeMs: 20,
      reconnectMsMax: 50,
    });
    redis.start();
    const endpoints = new Endpoints(() => ({
      send: () => {
        throw new Error('not asked here');
      },
      close: () => undefined,
    }));
    for (const address of addresses) endpoints.bind(address);
    const registry = new Registry();
    const peers = new Peers({
      redis,
      endpoints,
      registry,
      nowMs: () => performance.now(),
      options: { ...options, ...more },
    });
    const member = { endpoints, peers, redis, registry };
    members.push(member);
    await until(() => redis.isReady);
    return member;
  }
  const at = (member: Member, index: 0 | 1 = 0) => member.endpoints.bind(addresses[index]);

  withRedis('see each other’s requests in flight, and see them end', async () => {
    const [a, b, c] = [await join(), await join(), await join()];
    for (let count = 0; count < 3; count += 1) a.endpoints.begin(at(a));
    b.endpoints.begin(at(b));
    await until(() => at(c).elsewhere === 4 && at(a).elsewhere === 1 && at(b).elsewhere === 3);
    expect(at(c, 1).elsewhere).toBe(0);
    for (let count = 0; count < 3; count += 1) a.endpoints.end(at(a));
    await until(() => at(c).elsewhere === 1 && at(b).elsewhere === 0);
    expect(await c.registry.getSingleMetricAsString('muster_gateway_peers')).toContain(
      'muster_gateway_peers 2',
    );
  });

  withRedis('learn where the others sent which prompt', async () => {
    const [a, b] = [await join(), await join()];
    const keys = Int32Array.from([11, -22, 33]);
    await until(() => b.peers.size === 1);
    a.peers.learnt(at(a), keys, 1, 3);
    await until(() => b.peers.counts.blocksReceived === 2);
    at(b).prefix.blocks.add(keys, 1); // the first block was known there before
    expect(at(b).prefix.blocks.matched(keys, 3)).toBe(3);
    expect(at(b, 1).prefix.blocks.matched(keys, 3)).toBe(0);
  });

  withRedis('forget one that was killed', async () => {
    const [a, b] = [await join(), await join()];
    a.endpoints.begin(at(a));
    await until(() => at(b).elsewhere === 1);
    a.peers.close();
    a.redis.close();
    await until(() => at(b).elsewhere === 0 && b.peers.size === 0);
  });

  withRedis('go on alone without Redis, and find each other again', async () => {
    const [a, b] = [await join(), await join()];
    a.endpoints.begin(at(a));
    await until(() => at(b).elsewhere === 1);
    await server.kill();
    await until(() => at(b).elsewhere === 0);
    a.endpoints.begin(at(a));
    a.peers.learnt(at(a), Int32Array.from([5]), 0, 1);
    await server.restart();
    await until(() => at(b).elsewhere === 2);
  });

  withRedis('are not confused by others who use the channel', async () => {
    const [a, b] = [await join(), await join()];
    const say = (text: string) => a.redis.ask((client) => client.publish(channel, text));
    for (const text of ['', '{', 'null', '{"v":1}', '[1]']) await say(text);
    await until(() => b.peers.counts.refused >= 5);
    await say(
      formatMessage({
        from: 'stranger',
        inFlight: new Map([['http://nowhere:9', 5]]),
        isAll: true,
        blocks: new Map(),
      }),
    );
    await until(() => b.peers.size === 2);
    expect([at(b).elsewhere, at(b, 1).elsewhere]).toEqual([0, 0]);
  });

  withRedis('hear no more of them than their bound, and keep no more than they may say', async () => {
    const a = await join({ peersMax: 1 });
    const say = (from: string) =>
      a.redis.ask((client) =>
        client.publish(channel, formatMessage({ from, inFlight: new Map(), isAll: true, blocks: new Map() })),
      );
    await until(() => a.peers.counts.sent > 0);
    await say('one');
    await until(() => a.peers.size === 1);
    await say('two');
    await until(() => a.peers.counts.refused === 1);
    await server.kill();
    await until(() => !a.redis.isReady);
    for (let round = 0; round < 100; round += 1)
      a.peers.learnt(
        at(a),
        Int32Array.from({ length: 100 }, (_, index) => index + 1),
        0,
        100,
      );
    expect(a.peers.counts.blocksDropped).toBe(10_000 - 8_100);
  });
});
