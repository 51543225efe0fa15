import type { BatchPlan } from './batch.schema.ts';

/** Names of the messages of a batch's workflow; both sides take them from here. */
export const batchJob = {
  workflowType: 'batchJob',
  workflowId: (id: string): string => `batch/${id}`,
  /** signal: end early, keep what is there. */
  cancel: 'cancel',
} as const;

export interface BatchJobInput {
  readonly batchId: string;
  /** Where a run goes on that follows another. */
  readonly from?: number;
  readonly plan?: BatchPlan;
  /** Length of the history at which a new run begins; default 4,000 events. */
  readonly continueAfterEvents?: number;
}

export type BatchOutcome = 'completed' | 'expired' | 'cancelled';

/** Activities of a batch; all idempotent. */
export interface BatchActivities {
  /** Looks through the input once and counts its lines. */
  batchOpen(input: { readonly batchId: string }): Promise<BatchPlan>;
  /** Asks lines [from, to) that have no result yet; returns when each has one. */
  batchRun(input: { readonly batchId: string; readonly from: number; readonly to: number }): Promise<void>;
  /** Writes the output and error files and the final status. */
  batchClose(input: { readonly batchId: string; readonly outcome: BatchOutcome }): Promise<void>;
}
