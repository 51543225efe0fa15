import { anonymous } from '../../domain/access/caller.ts';
import { accountOf, matches } from '../../domain/budget/match.ts';
import type { Spender } from '../../domain/budget/match.ts';
import type { RateLimitsPolicy } from '../../domain/rate-limit/rate-limit-policy.schema.ts';
import { formatReset } from '../../domain/rate-limit/token-bucket.ts';
import type { TokenBucket } from '../../domain/rate-limit/token-bucket.ts';
import type { UsagePolicy } from '../../domain/usage/usage-policy.schema.ts';
import type { Refusal } from '../errors.ts';
import type { Passage } from '../passage.ts';
import type { Flow, Step } from '../step.ts';
import { estimateRequest } from '../usage/estimate-request.ts';
import type { Meter } from '../usage/meters.ts';
import { finalCost } from '../usage/usage-step.ts';
import { RateBucket } from './rate-bucket.ts';
import type { LimitCounts } from './rate-bucket.ts';

/**
 * Buckets at once. A further key, tenant or model takes the place of one that is full, as all are a minute after their
 * last request; while there is none it shares the bucket of `others`.
 */
const defaultBucketsMax = 10_000;
/** So often is looked for full ones, at most. */
const sweepEveryMs = 1_000;

export interface RateStepDeps {
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  /** Gateways that share the limits. */
  readonly gateways: () => number;
  /** Buckets of requests are to be looked up again. */
  readonly onDrop: () => void;
  readonly bucketsMax?: number;
}

/** Lets requests and tokens pass at a rate, in memory alone, and says what is left as OpenAI does. */
export class RateStep implements Step {
  readonly name = 'rate-limit';
  /** By account: the limit's id, and whose it is where each has its own. */
  readonly buckets = new Map<string, RateBucket>();
  /** By the limit's id. */
  readonly counts = new Map<string, LimitCounts>();
  private readonly deps: RateStepDeps;
  private limits: RateLimitsPolicy = [];
  private usage: UsagePolicy = { unsaidOutputTokens: 0, outputTokensMax: 0 };
  private sweepAtMs = -Infinity;

  constructor(deps: RateStepDeps) {
    this.deps = deps;
  }

  get isOn(): boolean {
    return this.limits.length > 0;
  }

  use(limits: RateLimitsPolicy, usage: UsagePolicy): void {
    this.usage = usage;
    const kept = new Map(limits.map((limit) => [limit.id, JSON.stringify(limit)]));
    for (const [name, bucket] of this.buckets)
      if (kept.get(bucket.limit.id) !== JSON.stringify(bucket.limit)) this.buckets.delete(name);
    for (const id of this.counts.keys()) if (!kept.has(id)) this.counts.delete(id);
    for (const id of kept.keys())
      if (!this.counts.has(id)) this.counts.set(id, { refused: 0, wouldRefuse: 0 });
    this.limits = limits;
  }

  enter(passage: Passage, flow: Flow): boolean {
    const { meter } = passage;
    if (meter === null || this.limits.length === 0) return true;
    const rates = this.ratesOf(passage, meter);
    if (rates.length === 0) return true;
    estimateRequest(passage, meter, this.usage);
    const nowMs = this.deps.nowMs();
    const parts = this.deps.gateways();
    let taken = rates;
    for (const bucket of rates) {
      bucket.fill(nowMs, parts);
      if (bucket.has(passage.estimatedTokens)) continue;
      if (bucket.isShadow) {
        bucket.counts.wouldRefuse += 1;
        passage.addHeader('x-muster-rate-limit-shadow', bucket.limit.id);
        // A refused request would have taken nothing.
        taken = taken.filter((other) => other !== bucket);
        continue;
      }
      bucket.counts.refused += 1;
      tell(passage, rates);
      flow.refuse(passage, tooFast(bucket, passage.estimatedTokens));
      return false;
    }
    for (const bucket of taken) bucket.take(passage.estimatedTokens);
    passage.rates = taken;
    tell(passage, rates);
    return true;
  }

  settle(passage: Passage): void {
    const { rates } = passage;
    if (rates === null) return;
    finalCost(passage);
    const { usage } = passage;
    const used = usage === null ? 0 : usage.inputTokens + usage.outputTokens;
    for (const { tokens } of rates) tokens?.take(used - passage.estimatedTokens);
  }

  private ratesOf(passage: Passage, meter: Meter): readonly RateBucket[] {
    if (meter.rates !== null) return meter.rates;
    const spender = {
      caller: passage.caller ?? anonymous,
      namespace: meter.numbers.namespace,
      service: meter.numbers.service,
      model: meter.numbers.model,
    };
    meter.rates = this.limits
      .filter((limit) => matches(limit.match, spender))
      .map((limit) => this.bucket(limit, spender));
    return meter.rates;
  }

  private bucket(limit: RateLimitsPolicy[number], spender: Spender): RateBucket {
    const wished = accountOf(limit.id, limit.per, spender);
    const known = this.buckets.get(wished);
    if (known !== undefined) return known;
    const nowMs = this.deps.nowMs();
    const name = this.hasRoom(nowMs) ? wished : `${limit.id}/others`;
    const counts = this.counts.get(limit.id) ?? { refused: 0, wouldRefuse: 0 };
    const bucket = this.buckets.get(name) ?? new RateBucket(limit, counts, nowMs);
    this.buckets.set(name, bucket);
    return bucket;
  }

  private hasRoom(nowMs: number): boolean {
    const { bucketsMax = defaultBucketsMax, gateways, onDrop } = this.deps;
    if (this.buckets.size < bucketsMax) return true;
    if (nowMs < this.sweepAtMs) return false;
    this.sweepAtMs = nowMs + sweepEveryMs;
    const parts = gateways();
    for (const [name, bucket] of this.buckets) {
      bucket.fill(nowMs, parts);
      if (bucket.isFull) this.buckets.delete(name);
    }
    onDrop();
    return this.buckets.size < bucketsMax;
  }
}

/** The tightest of the limits that are enforced, of each kind. */
function tell(passage: Passage, rates: readonly RateBucket[]): void {
  let requests: TokenBucket | null = null;
  let tokens: TokenBucket | null = null;
  for (const bucket of rates) {
    if (bucket.isShadow) continue;
    if (bucket.requests !== null && (requests === null || bucket.requests.remaining < requests.remaining))
      ({ requests } = bucket);
    if (bucket.tokens !== null && (tokens === null || bucket.tokens.remaining < tokens.remaining))
      ({ tokens } = bucket);
  }
  if (requests !== null) {
    passage.addHeader('x-ratelimit-limit-requests', String(requests.perMinute));
    passage.addHeader('x-ratelimit-remaining-requests', String(requests.remaining));
    passage.addHeader('x-ratelimit-reset-requests', formatReset(requests.fullInMs));
  }
  if (tokens !== null) {
    passage.addHeader('x-ratelimit-limit-tokens', String(tokens.perMinute));
    passage.addHeader('x-ratelimit-remaining-tokens', String(tokens.remaining));
    passage.addHeader('x-ratelimit-reset-tokens', formatReset(tokens.fullInMs));
  }
}

function tooFast({ limit, requests, tokens }: RateBucket, estimated: number): Refusal {
  const isRequests = requests !== null && !requests.has(1);
  const bucket = isRequests ? requests : tokens;
  const waitS = Math.max(1, Math.ceil((bucket?.waitMs(isRequests ? 1 : estimated) ?? 0) / 1000));
  const what = isRequests ? 'requests' : 'tokens';
  return {
    code: 'rate_limit_exceeded',
    message: `The rate limit '${limit.id}' of ${bucket?.perMinute ?? 0} ${what} a minute is reached: try again in ${waitS} s.`,
    retryAfterS: waitS,
  };
}
