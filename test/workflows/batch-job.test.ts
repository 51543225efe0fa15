import { beforeEach, describe, expect } from '@jest/globals';
import { Context } from '@temporalio/activity';
import type { BatchPlan } from '../../domain/batch/batch.schema.ts';
import { batchJob } from '../../domain/batch/messages.ts';
import type { BatchActivities, BatchJobInput, BatchOutcome } from '../../domain/batch/messages.ts';
import { lifecycle } from '../../domain/inference-service/messages.ts';
import { temporalTest as test, useStack } from './fakes/stack.ts';

/** A batch's store and gateway in memory: which lines are answered, and what closed it. */
class Desk {
  plan: BatchPlan = { isValid: true, total: 250, expiresAt: Date.now() + 600_000 };
  readonly answered: number[] = [];
  readonly outcomes: BatchOutcome[] = [];
  opened = 0;
  /** Before each line. */
  pause: (line: number) => Promise<void> = () => Promise.resolve();
  /** As a worker that is lost: it is not heard of any more. */
  isSilent = false;

  activities(): BatchActivities {
    return {
      batchOpen: () => {
        this.opened += 1;
        return Promise.resolve(this.plan);
      },
      batchRun: async ({ from, to }) => {
        const context = Context.current();
        const beating = setInterval(() => {
          if (!this.isSilent) context.heartbeat();
        }, 500);
        context.cancellationSignal.addEventListener('abort', () => {
          clearInterval(beating);
        });
        for (let line = from; line < to; line += 1) {
          if (this.answered.includes(line)) continue;
          context.heartbeat();
          await Promise.race([this.pause(line), context.cancelled]);
          this.answered.push(line);
        }
        clearInterval(beating);
      },
      batchClose: ({ outcome }) => {
        this.outcomes.push(outcome);
        return Promise.resolve();
      },
    };
  }
}

describe('the workflow of a batch', () => {
  const stack = useStack();
  let desk: Desk;
  let count = 0;
  beforeEach(() => {
    desk = new Desk();
  });

  const during = <T>(work: () => Promise<T>): Promise<T> => stack().serving(desk.activities(), work);
  const start = (more: Partial<BatchJobInput> = {}) =>
    stack().env.client.workflow.start<(input: BatchJobInput) => Promise<string>>(batchJob.workflowType, {
      workflowId: batchJob.workflowId(`b${(count += 1)}`),
      taskQueue: lifecycle.taskQueue,
      args: [{ batchId: `b${count}`, ...more }],
    });
  const untilOpened = async (): Promise<void> => {
    for (let left = 100; left > 0 && desk.opened === 0; left -= 1)
      await new Promise((resolve) => setTimeout(resolve, 50));
  };
  const all = Array.from({ length: 250 }, (_, line) => line);

  const record = (pins: string, handle: Awaited<ReturnType<typeof start>>) =>
    stack().record(batchJob.workflowType, pins, handle.workflowId, handle.firstExecutionRunId);

  test('asks every line once, step by step, and writes the files once', async () => {
    await during(async () => {
      const handle = await start();
      expect(await handle.result()).toBe('completed');
      await record('complete', handle);
    });
    expect(desk.answered).toEqual(all);
    expect(desk.outcomes).toEqual(['completed']);
    expect(desk.opened).toBe(1);
  });

  test('ends at once when its input is wrong', async () => {
    desk.plan = { ...desk.plan, isValid: false, total: 0 };
    await during(async () => {
      const handle = await start();
      expect(await handle.result()).toBe('failed');
      await record('invalid', handle);
    });
    expect([desk.answered, desk.outcomes]).toEqual([[], []]);
  });

  test('goes on in a new run before its history is too long, from where it was', async () => {
    await during(async () => {
      const handle = await start({ continueAfterEvents: 10 });
      expect(await handle.result()).toBe('completed');
      expect((await handle.describe()).runId).not.toBe(handle.firstExecutionRunId);
      await record('continue-as-new', handle);
    });
    expect(desk.answered).toEqual(all);
    expect([desk.opened, desk.outcomes]).toEqual([1, ['completed']]);
  });

  test('that is cancelled keeps what was answered and closes once', async () => {
    let reached: () => void = () => undefined;
    const at120 = new Promise<void>((resolve) => (reached = resolve));
    desk.pause = (line) => {
      if (line < 120) return Promise.resolve();
      reached();
      return new Promise(() => undefined);
    };
    await during(async () => {
      const handle = await start();
      await at120;
      await handle.signal(batchJob.cancel);
      expect(await handle.result()).toBe('cancelled');
      await record('cancel', handle);
    });
    expect(desk.answered).toEqual(all.slice(0, 120));
    expect(desk.outcomes).toEqual(['cancelled']);
  }, 60_000);

  test('that is cancelled from the Temporal UI is cancelled, too', async () => {
    desk.pause = () => new Promise(() => undefined);
    await during(async () => {
      const handle = await start();
      await untilOpened();
      await handle.cancel();
      expect(await handle.result()).toBe('cancelled');
    });
    expect(desk.outcomes).toEqual(['cancelled']);
  }, 60_000);

  test.each(['signal', 'UI'])(
    'hears of a cancel (%s) that came with the last answers before a new run',
    async (way) => {
      let reached: () => void = () => undefined;
      const underWay = new Promise<void>((resolve) => (reached = resolve));
      const { batchRun: _, ...others } = desk.activities();
      const batchRun: BatchActivities['batchRun'] = async ({ from, to }) => {
        const context = Context.current();
        const beating = setInterval(() => {
          context.heartbeat();
        }, 100);
        reached();
        await context.cancelled.catch(() => undefined); // every line is answered all the same
        clearInterval(beating);
        for (let line = from; line < to; line += 1) desk.answered.push(line);
      };
      await stack().serving({ ...others, batchRun }, async () => {
        const handle = await start({ continueAfterEvents: 10 });
        await underWay;
        if (way === 'UI') await handle.cancel();
        else await handle.signal(batchJob.cancel);
        expect(await handle.result()).toBe('cancelled');
      });
      expect(desk.answered.length).toBeLessThan(250);
      expect(desk.outcomes).toEqual(['cancelled']);
    },
    60_000,
  );

  test('is cancelled also when its worker is lost at that moment', async () => {
    desk.isSilent = true;
    desk.pause = () => new Promise(() => undefined);
    await during(async () => {
      const handle = await start();
      await untilOpened();
      await handle.signal(batchJob.cancel);
      expect(await handle.result()).toBe('cancelled');
    });
    expect(desk.outcomes).toEqual(['cancelled']);
  }, 60_000);

  test('whose time is over has expired', async () => {
    desk.plan = { ...desk.plan, expiresAt: Date.now() + 3_000 };
    desk.pause = (line) => (line < 5 ? Promise.resolve() : new Promise(() => undefined));
    await during(async () => {
      const handle = await start();
      expect(await handle.result()).toBe('expired');
      await record('expire', handle);
    });
    expect(desk.answered).toEqual([0, 1, 2, 3, 4]);
    expect(desk.outcomes).toEqual(['expired']);
  }, 60_000);

  test('survives the worker that runs it', async () => {
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    let reached: () => void = () => undefined;
    const at150 = new Promise<void>((resolve) => (reached = resolve));
    desk.pause = (line) => {
      if (line !== 150) return Promise.resolve();
      reached();
      return gate;
    };
    const handle = await during(async () => {
      const started = await start();
      await at150;
      return started;
    });
    release();
    desk.pause = () => Promise.resolve();
    await during(async () => {
      expect(await handle.result()).toBe('completed');
    });
    expect([...desk.answered].sort((a, b) => a - b)).toEqual(all);
    expect(desk.outcomes).toEqual(['completed']);
  }, 90_000);
});
