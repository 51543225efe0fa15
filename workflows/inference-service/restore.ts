import { failureInfo } from '../../domain/inference-service/reconcile-failure.ts';
import { isSuperseded, restoreDelayMs } from '../../domain/inference-service/reconcile.ts';
import type { Entity } from './entity.ts';
import { timestamp } from './entity.ts';
import { prepare, start } from './bring-up.ts';
import { stepFailure } from './failure.ts';
import { unless } from './interrupt.ts';

/** Brings a serving revision that its node has lost back up, as it was, without a new generation. */
export async function restore(entity: Entity): Promise<void> {
  const { state } = entity;
  const { serving, lost, generation } = state;
  if (serving === null || lost === null) return;
  const { node, workload, revision } = serving;
  entity.progress(
    { generation: serving.generation ?? generation, step: 'Starting', revision, runtime: workload.runtime },
    `Node ${node} lost ${revision}; it is started again.`,
  );
  try {
    await unless(
      () => isSuperseded(state, generation),
      async () => {
        // The files may be gone with the servers, so that a failure is followed by a try from the beginning.
        const modelDir = lost.failures > 0 ? await prepare(entity, node, workload) : serving.modelDir;
        const up = await start(node, workload, modelDir);
        state.serving = { ...serving, ...up, modelDir };
        state.lost = null;
        if (state.failedGeneration === null) state.failure = null;
        entity.event('Normal', 'RevisionReady', `${revision} runs again on node ${node}`);
      },
    );
  } catch (error) {
    const info = failureInfo(stepFailure(error), revision, serving.component, timestamp());
    const failures = lost.failures + 1;
    state.lost = { failures, nextAtMs: Date.now() + restoreDelayMs(failures) };
    if (state.failedGeneration === null) state.failure = info;
    entity.event(
      'Warning',
      'InferenceServiceNotReady',
      `${revision} could not be started again: ${info.message}`,
    );
  } finally {
    entity.progress(null);
  }
}
