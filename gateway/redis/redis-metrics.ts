import { Counter } from 'prom-client';
import type { Registry } from 'prom-client';
import { plainMetrics } from '../observe/plain-metrics.ts';
import type { RedisFailure, SharedRedis } from './shared-redis.ts';

/** What the shared Redis client tells of itself; nothing is registered for a gateway without Redis. */
export function registerRedisMetrics(registry: Registry, redis: SharedRedis): void {
  const plain = plainMetrics(registry, 'muster_gateway_redis_');
  plain.gauge('up', '1 while Redis is connected and answers in time', () => (redis.isReady ? 1 : 0));
  plain.counter('connects_total', 'Times the connection to Redis became ready', () => redis.connects);
  new Counter({
    name: 'muster_gateway_redis_errors_total',
    help: 'Commands to Redis that failed, by kind: no answer in time, no connection, an error as answer',
    labelNames: ['kind'],
    registers: [registry],
    collect() {
      this.reset();
      const kinds: RedisFailure[] = ['timeout', 'connection', 'reply'];
      for (const kind of kinds) this.inc({ kind }, redis.failures[kind]);
    },
  });
}
