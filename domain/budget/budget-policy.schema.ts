import { z } from 'zod';
import { Counting, listOf } from './counting.schema.ts';

/**
 * How much may be used by whom, for how long. A budget counts the requests that match all that it names, together, or
 * for each key, tenant or model apart. Tokens are input and output; money is whole micro-units of the price table's
 * currency. Gateways lease parts of it (slices) and count those in memory.
 */
const Amount = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

const Budget = Counting.extend({
  /** In UTC; a week begins on Monday. */
  period: z.enum(['hour', 'day', 'week', 'month', 'total']),
  limitTokens: Amount.optional(),
  limitCostMicros: Amount.optional(),
  /** What a gateway leases at a time; absent: a hundredth of the limit. */
  sliceTokens: Amount.min(1).optional(),
  sliceCostMicros: Amount.min(1).optional(),
}).refine((budget) => budget.limitTokens !== undefined || budget.limitCostMicros !== undefined, {
  message: 'a budget needs limitTokens, limitCostMicros or both',
});
export type Budget = z.infer<typeof Budget>;

export const BudgetsPolicy = listOf(Budget, 'budgets');
export type BudgetsPolicy = z.infer<typeof BudgetsPolicy>;
