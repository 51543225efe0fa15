import { ApplicationFailure } from '@temporalio/common';
import { defineQuery, defineSignal, defineUpdate, setHandler, uuid4 } from '@temporalio/workflow';
import type { ErrorCode } from '../../domain/errors.ts';
import type { InferenceService } from '../../domain/inference-service/inference-service.schema.ts';
import { lifecycle } from '../../domain/inference-service/messages.ts';
import type {
  ApplyOutcome,
  ApplyRequest,
  InferenceServiceInput,
  ReplicaFacts,
  SetStoppedRequest,
} from '../../domain/inference-service/messages.ts';
import { observe } from '../../domain/inference-service/reconcile-observed.ts';
import { decideApply, withStop } from '../../domain/inference-service/reconcile.ts';
import { validateInferenceService } from '../../domain/inference-service/validation.ts';
import type { Entity } from './entity.ts';
import { timestamp } from './entity.ts';

const applyUpdate = defineUpdate<ApplyOutcome, [ApplyRequest]>(lifecycle.apply);
const setStoppedUpdate = defineUpdate<ApplyOutcome, [SetStoppedRequest]>(lifecycle.setStopped);
// eslint-disable-next-line @typescript-eslint/no-invalid-void-type -- an update's result
const removeUpdate = defineUpdate<void>(lifecycle.remove);
const sleepUpdate = defineUpdate<ApplyOutcome>(lifecycle.sleep);
const activate = defineSignal(lifecycle.activate);
const replicasObserved = defineSignal<[ReplicaFacts]>(lifecycle.replicasObserved);
const retry = defineSignal(lifecycle.retry);
const get = defineQuery<InferenceService>(lifecycle.get);

/**
 * Connects the entity to its messages. Handlers only write desired state or take in facts, at once and without
 * waiting; validators refuse what must not become part of the history.
 */
export function listen(entity: Entity, input: InferenceServiceInput): void {
  const { state } = entity;

  const accept = (object: InferenceService, generationBefore?: number): ApplyOutcome => {
    const decision = decideApply(state, object, identity(), generationBefore);
    const { generation, changed, stopped, retry: again } = decision;
    state.object = decision.object;
    state.generation = generation;
    state.stopped = stopped;
    if (again) state.retryWanted = true;
    if (changed) state.asleep = false; // whoever changes a service wants to see it run
    if (changed) entity.changed();
    return { generation, changed, object: entity.object };
  };

  setHandler(applyUpdate, ({ object, generationBefore }: ApplyRequest) => accept(object, generationBefore), {
    validator: ({ object }: ApplyRequest) => {
      refuseWhileDeleting(entity);
      const { name, namespace } = object.metadata;
      if (name !== input.name || namespace !== input.namespace) {
        refuse(
          'invalid_manifest',
          `this is ${input.namespace}/${input.name}, not ${namespace ?? ''}/${name}`,
        );
      }
      const wrong = validateInferenceService(object, state.object ?? undefined);
      if (wrong !== null) refuse('invalid_manifest', wrong);
    },
  });

  const setStopped = ({ stopped }: SetStoppedRequest): ApplyOutcome => {
    const outcome = accept(withStop(entity.object, stopped));
    if (stopped || !state.asleep) return outcome;
    wake(entity);
    return { ...outcome, changed: true };
  };
  setHandler(setStoppedUpdate, setStopped, {
    validator: (_request: SetStoppedRequest) => {
      refuseWhileDeleting(entity);
      refuseUnlessApplied(entity);
    },
  });

  const sleep = (): ApplyOutcome => {
    const changed = !state.asleep;
    state.asleep = true;
    if (changed) entity.changed();
    return { generation: state.generation, changed, object: entity.object };
  };
  setHandler(sleepUpdate, sleep, {
    validator: () => {
      refuseWhileDeleting(entity);
      refuseUnlessApplied(entity);
      if (state.stopped) refuse('conflict', 'the service is stopped: what is stopped cannot sleep');
    },
  });

  setHandler(activate, () => {
    if (!state.asleep || state.deleting) return;
    entity.event('Normal', 'Activated', 'a request woke the service');
    wake(entity);
  });

  setHandler(
    removeUpdate,
    () => {
      state.deleting = true;
      entity.changed();
    },
    {
      validator: () => {
        refuseUnlessApplied(entity);
      },
    },
  );

  setHandler(replicasObserved, (facts: ReplicaFacts) => {
    const observed = observe(state, facts);
    if (observed === null) return;
    state.serving = observed.serving;
    state.lost = observed.lost;
    state.failure = observed.failure;
    if (observed.event) entity.event(observed.event.type, observed.event.reason, observed.event.message);
    entity.changed();
  });

  setHandler(retry, () => {
    if (state.failedGeneration === state.generation) state.retryWanted = true;
  });

  setHandler(get, () => entity.object);
}

function wake(entity: Entity): void {
  entity.state.asleep = false;
  entity.changed();
}

function identity(): { uid: string; creationTimestamp: string } {
  return { uid: uuid4(), creationTimestamp: timestamp() };
}

function refuseWhileDeleting({ state }: Entity): void {
  if (state.deleting) refuse('conflict', 'the InferenceService is being deleted; wait until it is gone');
}

function refuseUnlessApplied({ state }: Entity): void {
  if (state.object === null) refuse('not_found', 'nothing was applied under this name yet');
}

function refuse(code: ErrorCode, message: string): never {
  throw ApplicationFailure.nonRetryable(message, code);
}
