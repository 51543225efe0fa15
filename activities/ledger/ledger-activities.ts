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

/** What a try of the settling leaves to the next one. */
const Progress = z.object({
  after: z.string(),
  sum: z.object({
    windows: z.number(),
    gone: z.number(),
    returnedTokens: z.number(),
    returnedMicros: z.number(),
  }),
});
type Progress = z.infer<typeof Progress>;

/** Goes on where the last heartbeat of an earlier try stood: windows may be more than one try gets through. */
async function settleAll({ api, books, now }: LedgerActivityDeps): Promise<Settlement> {
  const none = { windows: 0, gone: 0, returnedTokens: 0, returnedMicros: 0 };
  if (books === null) return { ...none, isWithoutBooks: true };
  const context = Context.current();
  const since = now() - keptAfterEndMs;
  const earlier = Progress.safeParse(context.info.heartbeatDetails);
  let { after, sum } = earlier.success ? earlier.data : { after: '', sum: none };
  while (true) {
    const query = new URLSearchParams({ since: String(since), after, limit: String(pageSize) });
    const { windows } = await api.call('GET', `/internal/ledger/windows?${query.toString()}`, WindowPage);
    for (const window of windows) {
      const settled = await books.settle(window);
      after = window.window;
      if (settled === null) continue;
      sum = {
        windows: sum.windows + 1,
        gone: sum.gone + settled.gone,
        returnedTokens: sum.returnedTokens + settled.returnedTokens,
        returnedMicros: sum.returnedMicros + settled.returnedMicros,
      };
    }
    context.heartbeat({ after, sum } satisfies Progress);
    context.cancellationSignal.throwIfAborted();
    if (windows.length < pageSize) return { ...sum, isWithoutBooks: false };
  }
}
