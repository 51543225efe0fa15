import { describe, expect } from '@jest/globals';
import { lifecycle } from '../../domain/inference-service/messages.ts';
import { ledgerNames } from '../../domain/ledger/messages.ts';
import type { LedgerActivities, LedgerInput, LedgerOutcome } from '../../domain/ledger/messages.ts';
import { createSchedules } from '../../workers/control/schedules.ts';
import { temporalTest as test, useStack } from './fakes/stack.ts';

const settlement = { windows: 3, gone: 1, returnedTokens: 40, returnedMicros: 5, isWithoutBooks: false };

/** A ledger in memory: how often it was settled, and what it was asked to forget. */
class FakeLedger {
  settled = 0;
  pruned: number[] = [];
  /** Failures before it works. */
  failures = 0;

  activities(): LedgerActivities {
    return {
      ledgerSettle: () => {
        this.settled += 1;
        if (this.settled <= this.failures) return Promise.reject(new Error('Redis does not answer'));
        return Promise.resolve(settlement);
      },
      ledgerPrune: ({ before }) => {
        this.pruned.push(before);
        return Promise.resolve({ removed: 7 });
      },
    };
  }
}

describe('the ledger workflow', () => {
  const stack = useStack();
  const start = (workflowId: string, input: LedgerInput = {}) =>
    stack().env.client.workflow.start<(input: LedgerInput) => Promise<LedgerOutcome>>(
      ledgerNames.workflowType,
      {
        workflowId,
        taskQueue: lifecycle.taskQueue,
        args: [input],
      },
    );

  const record = (pins: string, { workflowId }: { readonly workflowId: string }) =>
    stack().record(ledgerNames.workflowType, pins, workflowId);

  test('settles, forgets what is old, and says what came of it', async () => {
    const ledger = new FakeLedger();
    const before = Date.now();
    await stack().serving(ledger.activities(), async () => {
      const handle = await start('ledger-once', { keptMs: 1_000_000 });
      expect(await handle.result()).toEqual({ ...settlement, pruned: 7 });
      await record('settle', handle);
    });
    expect(ledger.settled).toBe(1);
    expect(ledger.pruned[0]).toBeGreaterThanOrEqual(before - 1_000_000);
    expect(ledger.pruned[0]).toBeLessThanOrEqual(Date.now() - 1_000_000);
  });

  test('tries again when the books cannot be reached', async () => {
    const ledger = new FakeLedger();
    ledger.failures = 1;
    await stack().serving(ledger.activities(), async () => {
      const handle = await start('ledger-again');
      expect(await handle.result()).toMatchObject({ windows: 3 });
      await record('retry', handle);
    });
    expect(ledger.settled).toBe(2);
  });

  test('is run by its schedule, which is made once', async () => {
    const ledger = new FakeLedger();
    await createSchedules(stack().env.connection, 'default');
    await createSchedules(stack().env.connection, 'default');
    const { client } = stack().env;
    const schedule = client.schedule.getHandle(ledgerNames.scheduleId);
    await stack().serving(ledger.activities(), async () => {
      await schedule.trigger();
      for (let tries = 0; tries < 200 && ledger.pruned.length === 0; tries += 1)
        await new Promise((resolve) => setTimeout(resolve, 50));
    });
    expect(ledger.pruned.length).toBeGreaterThan(0);
    const { info, policies } = await schedule.describe();
    const [action] = info.recentActions;
    expect(action?.action.workflow.workflowId).toMatch(/^ledger/);
    expect(policies.overlap).toBe('SKIP');
    await schedule.delete();
  });
});
