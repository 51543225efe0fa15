import { redisScript } from '../redis/shared-redis.ts';
import type { SharedRedis } from '../redis/shared-redis.ts';

/** How many gateways share Redis: each says every few seconds that it lives, those that are silent are not counted. */
const beatMs = 2_000;
const silentMs = 10_000;

const script = redisScript(`
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
return redis.call('ZCARD', KEYS[1])
`);
const key = 'muster:gateways';

export class GatewayCount {
  /** Of the last beat that Redis answered; before the first: of this gateway's own processes. */
  value: number;
  private readonly redis: SharedRedis | null;
  private readonly gatewayId: string;
  private timer: NodeJS.Timeout | undefined;

  constructor(redis: SharedRedis | null, gatewayId: string, processes: number) {
    this.redis = redis;
    this.gatewayId = gatewayId;
    this.value = processes;
  }

  start(): void {
    const { redis } = this;
    if (redis === null || this.timer !== undefined) return;
    redis.onReady(() => {
      void this.beat(redis);
    });
    this.timer = setInterval(() => {
      void this.beat(redis);
    }, beatMs).unref();
  }

  async close(): Promise<void> {
    clearInterval(this.timer);
    if (this.timer !== undefined) await this.redis?.ask((client) => client.zrem(key, this.gatewayId));
  }

  private async beat(redis: SharedRedis): Promise<void> {
    const count = await redis.run(script, [key], [this.gatewayId, silentMs]);
    if (typeof count === 'number' && count > 0) this.value = count;
  }
}
