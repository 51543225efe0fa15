import { z } from 'zod';

/**
 * What gateways tell the ledger. Each answered request is one record, named by its gateway and a number that grows by
 * one: a record that comes again, from the same process or from the one that found its file, changes nothing.
 */
const Count = z.int().min(0);
/** Gateways bound what servers say; so sums of many years stay whole numbers in the store. */
const Tokens = Count.max(1_000_000_000);
const Micros = Count.max(10_000_000_000_000);
/** Milliseconds since 1970 that are a date. */
const Moment = Count.max(8_640_000_000_000_000);
const Text = z.string().max(1_024);

export const UsageRecord = z.object({
  seq: Count,
  requestId: Text,
  /** When its answer ended, milliseconds since 1970. */
  at: Moment,
  /** Of the API key, token or certificate; '' for nobody. */
  key: Text,
  tenant: Text,
  namespace: Text,
  service: Text,
  /** The name under which it counts, however the request spelt it. */
  model: Text,
  inputTokens: Tokens,
  /** Part of `inputTokens`. */
  cachedInputTokens: Tokens,
  outputTokens: Tokens,
  costMicros: Micros,
  currency: Text,
  /** The answer did not tell its tokens. */
  estimated: z.boolean(),
  /** Budget accounts and windows that it was taken from, `account|window`. */
  budgets: z.array(Text).max(100),
});
export type UsageRecord = z.infer<typeof UsageRecord>;

/** A gateway's share of one budget's window, as it sees it. */
export const BudgetShareReport = z.object({
  /** `account|window` */
  window: Text,
  budget: Text,
  /** Null: without end. */
  endMs: Moment.nullable(),
  limitTokens: Count.nullable(),
  limitMicros: Count.nullable(),
  /** May be below zero for a moment, when what was given back is entered before what is spent. */
  grantedTokens: z.int(),
  grantedMicros: z.int(),
  spentTokens: Count,
  spentMicros: Count,
});
export type BudgetShareReport = z.infer<typeof BudgetShareReport>;

export const UsageReport = z.object({
  /** Of the process that answered the requests, which may not be the one that sends this. */
  gateway: z.string().min(1).max(256),
  records: z.array(UsageRecord).max(10_000),
  shares: z.array(BudgetShareReport).max(20_000),
});
export type UsageReport = z.infer<typeof UsageReport>;

export const UsageTaken = z.object({
  /** Records that were new. */
  added: Count,
});

export const UsageSum = z.object({
  /** The tenant, key, model, `namespace/service` or day (UTC). */
  group: z.string(),
  currency: z.string(),
  requests: Count,
  estimated: Count,
  inputTokens: Count,
  cachedInputTokens: Count,
  outputTokens: Count,
  costMicros: Count,
});
export type UsageSum = z.infer<typeof UsageSum>;

export const UsageSums = z.object({ items: z.array(UsageSum) });

export const BudgetState = z.object({
  budget: z.string(),
  account: z.string(),
  window: z.string(),
  endsAt: z.string().nullable(),
  limitTokens: Count.nullable(),
  limitCostMicros: Count.nullable(),
  /** By the ledger. */
  spentTokens: Count,
  spentCostMicros: Count,
  /** Held by gateways beyond what the ledger knows as spent. */
  leasedTokens: Count,
  leasedCostMicros: Count,
  /** Null where there is no limit. */
  leftTokens: Count.nullable(),
  leftCostMicros: Count.nullable(),
});
export type BudgetState = z.infer<typeof BudgetState>;

export const BudgetStates = z.object({ items: z.array(BudgetState) });

/** What the ledger knows of one window: spent by each gateway. */
export const WindowSpending = z.object({
  window: z.string(),
  endMs: Count.nullable(),
  spent: z.array(z.object({ gateway: z.string(), tokens: Count, micros: Count })),
});
export type WindowSpending = z.infer<typeof WindowSpending>;

export const WindowPage = z.object({ windows: z.array(WindowSpending) });
