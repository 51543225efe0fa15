import {
  CancellationScope,
  allHandlersFinished,
  condition,
  continueAsNew,
  workflowInfo,
} from '@temporalio/workflow';
import type { InferenceServiceInput } from '../domain/inference-service/messages.ts';
import { carry, initialState, nextAction, nextLookMs } from '../domain/inference-service/reconcile.ts';
import { deploy } from './inference-service/attempt.ts';
import { remove, stop } from './inference-service/endings.ts';
import { Entity } from './inference-service/entity.ts';
import { listen } from './inference-service/messages.ts';
import { restore } from './inference-service/restore.ts';
import { Retirement } from './inference-service/retirement.ts';

/** A run that was started by an apply which was then refused ends after this time. */
const applyTimeoutMs = 60_000;
const maxHistoryLength = 4_000;

/**
 * One InferenceService for as long as it exists. Messages write the desired state, this loop compares it with what
 * is and does the one next thing: deploy, restore, stop, remove, or rest. It is never failed on purpose, and a
 * cancel request from the Temporal UI is ignored: services are removed by `remove`, which cleans up.
 */
export async function inferenceService(input: InferenceServiceInput): Promise<void> {
  await CancellationScope.nonCancellable(() => live(input));
}

async function live(input: InferenceServiceInput): Promise<void> {
  const entity = new Entity(initialState(input.carried), input.namespace, input.name);
  const retirement = new Retirement();
  const { state, outbox } = entity;
  listen(entity, input);

  await condition(() => state.object !== null, applyTimeoutMs);
  if (state.object === null) return;
  void outbox.run();

  for (;;) {
    switch (nextAction(state, Date.now())) {
      case 'remove':
        await remove(entity, retirement);
        await condition(allHandlersFinished);
        return;
      case 'stop':
        await stop(entity);
        break;
      case 'deploy':
        await retirement.room();
        await deploy(entity, retirement);
        break;
      case 'restore':
        await restore(entity);
        break;
      case 'rest':
        await rest(entity, retirement, input);
    }
  }
}

/** Sleeps until there is something to do; a long history is left behind for a new run, with nothing under way. */
async function rest(entity: Entity, retirement: Retirement, input: InferenceServiceInput): Promise<void> {
  const { state, outbox } = entity;
  const isDue = (): boolean => nextAction(state, Date.now()) !== 'rest';
  const mayLeave = (): boolean =>
    isLong(input) && retirement.isEmpty && outbox.isEmpty && allHandlersFinished();
  const lookMs = nextLookMs(state, Date.now());
  if (lookMs === null) await condition(() => isDue() || mayLeave());
  else await condition(() => isDue() || mayLeave(), lookMs);
  if (isDue() || !mayLeave()) return;
  await continueAsNew<typeof inferenceService>({ ...input, carried: carry(state) });
}

/**
 * Versions of the worker need no new run: entities are AUTO_UPGRADE, so the next workflow task of an old run is
 * simply done by the current build (`targetWorkerDeploymentVersionChanged` concerns pinned runs only).
 */
function isLong(input: InferenceServiceInput): boolean {
  const { historyLength, continueAsNewSuggested } = workflowInfo();
  return continueAsNewSuggested || historyLength > (input.continueAfterEvents ?? maxHistoryLength);
}
