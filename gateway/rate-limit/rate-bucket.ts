import type { RateLimit } from '../../domain/rate-limit/rate-limit-policy.schema.ts';
import { TokenBucket } from '../../domain/rate-limit/token-bucket.ts';

/** Of one rate limit, whoever shares its buckets. */
export interface LimitCounts {
  refused: number;
  wouldRefuse: number;
}

/** One rate limit for those who share it: one key, one tenant, one model, or all that match. */
export class RateBucket {
  readonly limit: RateLimit;
  readonly requests: TokenBucket | null;
  readonly tokens: TokenBucket | null;
  readonly counts: LimitCounts;

  constructor(limit: RateLimit, counts: LimitCounts, nowMs: number) {
    this.limit = limit;
    this.counts = counts;
    this.requests =
      limit.requestsPerMinute === undefined ? null : new TokenBucket(limit.requestsPerMinute, nowMs);
    this.tokens = limit.tokensPerMinute === undefined ? null : new TokenBucket(limit.tokensPerMinute, nowMs);
  }

  get isShadow(): boolean {
    return this.limit.mode === 'shadow';
  }

  /** After `fill`: it lets pass what a new one would. */
  get isFull(): boolean {
    return (this.requests?.fullInMs ?? 0) === 0 && (this.tokens?.fullInMs ?? 0) === 0;
  }

  fill(nowMs: number, parts: number): void {
    this.requests?.fill(nowMs, parts);
    this.tokens?.fill(nowMs, parts);
  }

  has(tokens: number): boolean {
    return (
      (this.requests === null || this.requests.has(1)) && (this.tokens === null || this.tokens.has(tokens))
    );
  }

  take(tokens: number): void {
    this.requests?.take(1);
    this.tokens?.take(tokens);
  }
}
