import {
  ActivityCancellationType,
  CancellationScope,
  condition,
  continueAsNew,
  defineSignal,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { BatchPlan } from '../domain/batch/batch.schema.ts';
import { batchJob as names } from '../domain/batch/messages.ts';
import type { BatchActivities, BatchJobInput, BatchOutcome } from '../domain/batch/messages.ts';

/** Lines a step: few enough that a lost worker repeats little, many enough that 50,000 lines are one history. */
const linesAStep = 100;
const maxHistoryLength = 4_000;

const retry = { initialInterval: '1 second', maximumInterval: '30 seconds' } as const;
const { batchOpen, batchClose } = proxyActivities<BatchActivities>({
  startToCloseTimeout: '10 minutes',
  retry,
});
// A step waits for servers that are loading or full, for as long as the batch itself may take. The short heartbeat is
// how it hears of a cancel; it then writes down what was answered before it ends.
const { batchRun } = proxyActivities<BatchActivities>({
  startToCloseTimeout: '8 days',
  heartbeatTimeout: '10 seconds',
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  retry,
});

/**
 * One batch from its input to its files. Progress is in the store, line by line; history holds the steps. It ends
 * early when it is cancelled (by its signal, or from the Temporal UI) or its window is over, and then keeps what was
 * answered.
 */
export async function batchJob(input: BatchJobInput): Promise<BatchOutcome | 'failed'> {
  const { batchId } = input;
  let hasCancel = false;
  setHandler(defineSignal(names.cancel), () => {
    hasCancel = true;
  });
  const scope = CancellationScope.current();
  const isCancelled = () => hasCancel || scope.consideredCancelled;
  const plan = input.plan ?? (await CancellationScope.nonCancellable(() => batchOpen({ batchId })));
  if (!plan.isValid) return 'failed';

  let from = input.from ?? 0;
  let outcome: BatchOutcome | null = null;
  while (outcome === null && from < plan.total) {
    // A cancel that came with the last step's answers would not be known to the next run.
    if (!isCancelled() && isLong(input))
      return await continueAsNew<typeof batchJob>({ ...input, plan, from });
    const to = Math.min(from + linesAStep, plan.total);
    setCurrentDetails(`lines ${from + 1} to ${to} of ${plan.total}`);
    outcome = await step({ batchId, from, to }, plan, isCancelled);
    from = to;
  }
  const ended = outcome ?? 'completed';
  setCurrentDetails(`${ended}: writing its files`);
  await CancellationScope.nonCancellable(() => batchClose({ batchId, outcome: ended }));
  setCurrentDetails(ended);
  return ended;
}

/** @returns how the batch ends early, or null when the step's lines are answered */
async function step(
  lines: { readonly batchId: string; readonly from: number; readonly to: number },
  plan: BatchPlan,
  isCancelled: () => boolean,
): Promise<BatchOutcome | null> {
  const leftMs = plan.expiresAt - Date.now();
  if (leftMs <= 0) return 'expired'; // first: those that are overdue are told to end, too
  if (isCancelled()) return 'cancelled';
  const work = new CancellationScope();
  const watch = new CancellationScope();
  void watch
    .run(() => condition(isCancelled, leftMs))
    .then(() => {
      work.cancel();
    })
    .catch(() => undefined); // the step was done first
  try {
    await work.run(() => batchRun(lines));
    return null;
  } catch (error) {
    // A worker that is lost while it is asked to end leaves a timeout behind, not a cancellation.
    if (!isCancellation(error) && !work.consideredCancelled) throw error;
    return plan.expiresAt <= Date.now() ? 'expired' : 'cancelled';
  } finally {
    watch.cancel();
  }
}

function isLong(input: BatchJobInput): boolean {
  const { historyLength, continueAsNewSuggested } = workflowInfo();
  return continueAsNewSuggested || historyLength > (input.continueAfterEvents ?? maxHistoryLength);
}
