import { z } from 'zod';

/**
 * What requests cost. Money is whole micro-units of one currency (1 USD = 1,000,000): sums of it never round, and
 * budgets may add what different models cost. A price of 2.50 USD for a million tokens is 2500000.
 */
const microsMax = 1_000_000_000;
const Micros = z.int().min(0).max(microsMax);

const ModelPrice = z.strictObject({
  /** `namespace/name` of a service, a name that requests use, or `*` for all others; the first of these that is there. */
  model: z.string().min(1).max(512),
  inputPerMillion: Micros.default(0),
  /** For input found in the server's prefix cache; absent: as other input. */
  cachedInputPerMillion: Micros.optional(),
  outputPerMillion: Micros.default(0),
  /** For each answered request, also of V1 and V2. */
  perRequest: Micros.default(0),
});
export type ModelPrice = z.infer<typeof ModelPrice>;

export const PricesPolicy = z.strictObject({
  /** ISO 4217; for people: nothing is converted. */
  currency: z
    .string()
    .regex(/^[A-Z]{3}$/)
    .default('USD'),
  models: z.array(ModelPrice).max(10_000).default([]),
});
export type PricesPolicy = z.infer<typeof PricesPolicy>;
