import { Context } from '@temporalio/activity';
import { z } from 'zod';
import { keptAfterEndMs } from '../../domain/budget/lease-book.ts';
import type { LedgerActivities, Settlement } from '../../domain/ledger/messages.ts';
import { WindowPage } from '../../domain/usage/usage-record.schema.ts';
import type { ControlApi } from '../control/api.ts';
import { withFailures } from '../control/failures.ts';
import type { Books } from './redis-books.ts';

/** The ledger is the control API's, the books are in Redis: both are reached here, and only the outcome is returned. */
export interface LedgerActivityDeps {
  readonly api: Pick<ControlApi, 'call'>;
  /** Null: gateways share none. */
  readonly books: Books | null;
  readonly now: () => number;
}

const pageSize = 200;

const Removed = z.object({ removed: z.int() });

export function ledgerActivities(deps: LedgerActivityDeps): LedgerActivities {
  const { api } = deps;
  return withFailures<LedgerActivities>({
    ledgerSettle: () => settleAll(deps),
    ledgerPrune: ({ before }) =>
      api.call('POST', '/internal/ledger/prune', Removed, { before: Math.max(0, before) }),
  });
}

async function settleAll({ api, books, now }: LedgerActivityDeps): Promise<Settlement> {
  const sum = { windows: 0, gone: 0, returnedTokens: 0, returnedMicros: 0 };
  if (books === null) return { ...sum, isWithoutBooks: true };
  const context = Context.current();
  const since = now() - keptAfterEndMs;
  let after = '';
  while (true) {
    const query = new URLSearchParams({ since: String(since), after, limit: String(pageSize) });
    const { windows } = await api.call('GET', `/internal/ledger/windows?${query.toString()}`, WindowPage);
    for (const window of windows) {
      const settled = await books.settle(window);
      after = window.window;
      if (settled === null) continue;
      sum.windows += 1;
      sum.gone += settled.gone;
      sum.returnedTokens += settled.returnedTokens;
      sum.returnedMicros += settled.returnedMicros;
    }
    context.heartbeat(after);
    context.cancellationSignal.throwIfAborted();
    if (windows.length < pageSize) return { ...sum, isWithoutBooks: false };
  }
}
