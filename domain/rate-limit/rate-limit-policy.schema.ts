import { z } from 'zod';

/**
 * How fast may be asked: requests and tokens a minute, of those that match. Each gateway lets its part pass: the limit
 * by the number of gateways that share Redis (without Redis: by the processes of this one).
 */
const PerMinute = z.int().min(1).max(1_000_000_000);

const RateLimit = z
  .strictObject({
    id: z
      .string()
      .regex(/^[a-z0-9]([a-z0-9._-]{0,62})$/, 'must be lower-case letters, digits, ".", "_" and "-"'),
    /** Requests that count; what is left out matches all. */
    match: z
      .strictObject({
        key: z.string().min(1).max(512).optional(),
        tenant: z.string().max(512).optional(),
        model: z.string().min(1).max(512).optional(),
        namespace: z.string().min(1).max(253).optional(),
      })
      .prefault({}),
    /** A bucket of its own for each; absent: one for all. */
    per: z.enum(['key', 'tenant', 'model']).optional(),
    requestsPerMinute: PerMinute.optional(),
    /** Input and output; set aside before the answer, put right after it. */
    tokensPerMinute: PerMinute.optional(),
    mode: z.enum(['enforce', 'shadow']).default('enforce'),
  })
  .refine((limit) => limit.requestsPerMinute !== undefined || limit.tokensPerMinute !== undefined, {
    message: 'a rate limit needs requestsPerMinute, tokensPerMinute or both',
  });
export type RateLimit = z.infer<typeof RateLimit>;

export const RateLimitsPolicy = z
  .array(RateLimit)
  .max(10_000)
  .refine((limits) => new Set(limits.map(({ id }) => id)).size === limits.length, {
    message: 'two rate limits have the same id',
  })
  .default([]);
export type RateLimitsPolicy = z.infer<typeof RateLimitsPolicy>;
