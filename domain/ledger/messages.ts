/** Names of the ledger's workflow and schedule; both sides take them from here. */
export const ledgerNames = {
  workflowType: 'ledger',
  workflowId: 'ledger',
  scheduleId: 'ledger',
  everyMs: 60_000,
} as const;

export interface LedgerInput {
  /** Single records and ended budgets are kept so long; default 35 days. */
  readonly keptMs?: number;
}

/** What one settling came to. */
export interface Settlement {
  /** Books that were compared with the ledger. */
  readonly windows: number;
  /** Shares in them of gateways that are gone. */
  readonly gone: number;
  /** What such gateways had leased and not spent, and others may spend again; below zero: they spent more. */
  readonly returnedTokens: number;
  readonly returnedMicros: number;
  /** There is no Redis, and so no common book: each gateway has its own. */
  readonly isWithoutBooks: boolean;
}

export interface LedgerOutcome extends Settlement {
  /** Single records that were old enough to be forgotten. */
  readonly pruned: number;
}

/** Activities of the ledger; all idempotent. */
export interface LedgerActivities {
  /** Corrects the books of budgets to what the ledger knows. */
  ledgerSettle(): Promise<Settlement>;
  ledgerPrune(input: { readonly before: number }): Promise<{ readonly removed: number }>;
}
