import { budgetKey, leaseLua } from '../../domain/budget/lease-script.ts';
import { goneAfterMs, keptAfterEndMs } from '../../domain/budget/lease-book.ts';
import type { LeaseAnswer, LeaseCall, Limits } from '../../domain/budget/lease-book.ts';
import { redisScript } from '../redis/shared-redis.ts';
import type { SharedRedis } from '../redis/shared-redis.ts';

/** Where slices of budgets come from: Redis for gateways that share them, a journal for one alone. */
export interface LeaseSource {
  /** Leases that a crash would forget, since they could not be written down. */
  readonly failures: number;
  /**
   * @param window account and window; @param endMs of the window, Infinity: never
   * @returns null when there was no answer: the call may have been entered or not, and is repeated as it is
   */
  lease(window: string, endMs: number, limits: Limits, call: LeaseCall): Promise<LeaseAnswer | null>;
  /** Leases that wait for something are answered now, those to come at once: the gateway ends. */
  stopWaiting?(): void;
  close(): Promise<void>;
}

const script = redisScript(leaseLua);

export class RedisLeases implements LeaseSource {
  readonly failures = 0;
  private readonly redis: SharedRedis;

  constructor(redis: SharedRedis) {
    this.redis = redis;
  }

  async lease(window: string, endMs: number, limits: Limits, call: LeaseCall): Promise<LeaseAnswer | null> {
    const answer = await this.redis.run(script, [budgetKey(window)], leaseArguments(endMs, limits, call));
    return readLeaseAnswer(answer);
  }

  close(): Promise<void> {
    return Promise.resolve(); // the client is the gateway's
  }
}

/** In the order that the script documents. */
export function leaseArguments(endMs: number, limits: Limits, call: LeaseCall): (string | number)[] {
  return [
    call.gateway,
    call.sequence,
    ...pair(call.want),
    ...pair(call.granted),
    ...pair(call.offline),
    ...pair(call.spent),
    call.epoch,
    ...pair(call.known),
    call.newEpoch,
    limits.tokens === Infinity ? -1 : limits.tokens,
    limits.micros === Infinity ? -1 : limits.micros,
    goneAfterMs,
    endMs === Infinity ? 0 : endMs + keptAfterEndMs,
  ];
}

export function readLeaseAnswer(answer: unknown): LeaseAnswer | null {
  if (!Array.isArray(answer) || answer.length !== 6) return null;
  const [epoch, ...rest] = answer as unknown[];
  const [grantTokens, grantMicros, totalTokens, totalMicros, gateways] = rest.map(Number);
  if (typeof epoch !== 'string' || grantTokens === undefined || grantMicros === undefined) return null;
  if (totalTokens === undefined || totalMicros === undefined || gateways === undefined) return null;
  return {
    epoch,
    grant: { tokens: grantTokens, micros: grantMicros },
    total: { tokens: totalTokens, micros: totalMicros },
    gateways,
  };
}

function pair({ tokens, micros }: Limits): number[] {
  return [tokens, micros];
}
