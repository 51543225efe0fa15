import { z } from 'zod';
import { Counting, listOf } from '../budget/counting.schema.ts';

/**
 * How fast may be asked: requests and tokens a minute, of those that match. Each gateway lets its part pass: the limit
 * by the number of gateways that share Redis (without Redis: by the processes of this one).
 */
const PerMinute = z.int().min(1).max(1_000_000_000);

const RateLimit = Counting.extend({
  requestsPerMinute: PerMinute.optional(),
  /** Input and output; set aside before the answer, put right after it. */
  tokensPerMinute: PerMinute.optional(),
}).refine((limit) => limit.requestsPerMinute !== undefined || limit.tokensPerMinute !== undefined, {
  message: 'a rate limit needs requestsPerMinute, tokensPerMinute or both',
});
export type RateLimit = z.infer<typeof RateLimit>;

export const RateLimitsPolicy = listOf(RateLimit, 'rate limits');
export type RateLimitsPolicy = z.infer<typeof RateLimitsPolicy>;
