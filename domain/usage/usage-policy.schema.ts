import { z } from 'zod';

/** What is set aside for an answer before its tokens are known, by budgets and rate limits. */
export const UsagePolicy = z.strictObject({
  /** For requests that set no limit to their answer. */
  unsaidOutputTokens: z.int().min(0).max(1_000_000).default(256),
  /** Of the limit that a request sets: servers stop at their own context length anyway. */
  outputTokensMax: z.int().min(0).max(10_000_000).default(16_384),
});
export type UsagePolicy = z.infer<typeof UsagePolicy>;
