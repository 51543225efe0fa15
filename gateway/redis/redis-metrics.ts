import { Counter, Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import type { RedisFailure, SharedRedis } from './shared-redis.ts';

/** What the shared Redis client tells of itself; nothing is registered for a gateway without Redis. */
export function registerRedisMetrics(registry: Registry, redis: SharedRedis): void {
  const registers = [registry];
  new Gauge({
    name: 'muster_gateway_redis_up',
    help: '1 while Redis is connected and answers in time',
    registers,
    collect() {
      this.set(redis.isReady ? 1 : 0);
    },
  });
  new Counter({
    name: 'muster_gateway_redis_connects_total',
    help: 'Times the connection to Redis became ready',
    registers,
    collect() {
      this.reset();
      this.inc(redis.connects);
    },
  });
  new Counter({
    name: 'muster_gateway_redis_errors_total',
    help: 'Commands to Redis that failed, by kind: no answer in time, no connection, an error as answer',
    labelNames: ['kind'],
    registers,
    collect() {
      this.reset();
      const kinds: RedisFailure[] = ['timeout', 'connection', 'reply'];
      for (const kind of kinds) this.inc({ kind }, redis.failures[kind]);
    },
  });
}
