import { z } from 'zod';

/**
 * How much may be used by whom, for how long. A budget counts the requests that match all that it names, together, or
 * for each key, tenant or model apart. Tokens are input and output; money is whole micro-units of the price table's
 * currency. Gateways lease parts of it (slices) and count those in memory.
 */
const Amount = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

const Budget = z
  .strictObject({
    /** Unlike the others; a new id is a new account. */
    id: z
      .string()
      .regex(/^[a-z0-9]([a-z0-9._-]{0,62})$/, 'must be lower-case letters, digits, ".", "_" and "-"'),
    /** Requests that count; what is left out matches all. */
    match: z
      .strictObject({
        key: z.string().min(1).max(512).optional(),
        tenant: z.string().max(512).optional(),
        /** As requests name it. */
        model: z.string().min(1).max(512).optional(),
        namespace: z.string().min(1).max(253).optional(),
      })
      .prefault({}),
    /** An account of its own for each; absent: one for all. */
    per: z.enum(['key', 'tenant', 'model']).optional(),
    /** In UTC; a week begins on Monday. */
    period: z.enum(['hour', 'day', 'week', 'month', 'total']),
    limitTokens: Amount.optional(),
    limitCostMicros: Amount.optional(),
    /** `shadow`: what would be refused is counted and said, and served. */
    mode: z.enum(['enforce', 'shadow']).default('enforce'),
    /** What a gateway leases at a time; absent: a hundredth of the limit. */
    sliceTokens: Amount.min(1).optional(),
    sliceCostMicros: Amount.min(1).optional(),
  })
  .refine((budget) => budget.limitTokens !== undefined || budget.limitCostMicros !== undefined, {
    message: 'a budget needs limitTokens, limitCostMicros or both',
  });
export type Budget = z.infer<typeof Budget>;

export const BudgetsPolicy = z
  .array(Budget)
  .max(10_000)
  .refine((budgets) => new Set(budgets.map(({ id }) => id)).size === budgets.length, {
    message: 'two budgets have the same id',
  })
  .default([]);
export type BudgetsPolicy = z.infer<typeof BudgetsPolicy>;
