import { proxyActivities, setCurrentDetails } from '@temporalio/workflow';
import type { LedgerActivities, LedgerInput, LedgerOutcome } from '../domain/ledger/messages.ts';

/** Long enough for a gateway whose disk is found again late: after it a record could count twice. */
const keptMs = 35 * 24 * 3_600_000;

const { ledgerSettle, ledgerPrune } = proxyActivities<LedgerActivities>({
  startToCloseTimeout: '5 minutes',
  scheduleToCloseTimeout: '15 minutes',
  heartbeatTimeout: '30 seconds',
  retry: { initialInterval: '2 seconds', maximumInterval: '30 seconds' },
});

/**
 * Once a minute, by its schedule: what gateways hold of budgets is compared with what the ledger says they spent. The
 * slices of gateways that are gone come back, and the books are set to the truth. Nothing is charged here; a run that
 * is missed, repeated or cut off leaves the same state behind.
 */
export async function ledger(input: LedgerInput = {}): Promise<LedgerOutcome> {
  const settlement = await ledgerSettle();
  const { removed } = await ledgerPrune({ before: Date.now() - (input.keptMs ?? keptMs) });
  const { windows, gone } = settlement;
  setCurrentDetails(`${windows} budgets settled, ${gone} shares of gateways that are gone`);
  return { ...settlement, pruned: removed };
}
