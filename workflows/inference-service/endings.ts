import { condition } from '@temporalio/workflow';
import { idleState } from '../../domain/inference-service/reconcile.ts';
import type { Entity } from './entity.ts';
import { control } from './activities.ts';
import type { Retirement } from './retirement.ts';
import { publishIdle, reachGateways, takeDown } from './routes.ts';

/**
 * Takes the service out of traffic and stops its servers; the spec stays, so that it can be started again: by a person
 * where it was stopped, by the next request where it is only asleep.
 */
export async function stop(entity: Entity): Promise<void> {
  const { state, object } = entity;
  entity.changed();
  const idle = idleState(state) ?? 'Stopped';
  const { name } = object.metadata;
  const word = idle === 'Stopped' ? 'stopped' : 'asleep';
  const message = `${name} is ${word}; start it with: muster start ${name}`;
  const version = await publishIdle(entity, idle, message);
  if (state.serving !== null) {
    await reachGateways(entity, version);
    await takeDown(entity, state.serving, version, 'Stopped');
    state.previousRevision = state.serving.revision;
  }
  state.serving = null;
  state.lost = null;
  state.failure = null;
  state.failedGeneration = null;
  state.retryWanted = false;
  state.observedGeneration = state.generation;
  const how = idle === 'Stopped' ? 'the spec is kept' : 'a request wakes it';
  entity.event('Normal', idle, `no server of this service runs; ${how}`);
  entity.changed();
}

/** Removes all there is of the service. Nothing here gives up: what cannot be reached is waited for. */
export async function remove(entity: Entity, retirement: Retirement): Promise<void> {
  const { state, object } = entity;
  const namespace = object.metadata.namespace ?? 'default';
  const { name } = object.metadata;
  entity.event('Normal', 'Deleting', 'the service is being removed');
  entity.changed();
  const { version } = await control(`Take ${name} out of the route table`).withdrawRoutes({
    namespace,
    name,
  });
  if (state.serving !== null) {
    await reachGateways(entity, version);
    await takeDown(entity, state.serving, version, 'Removed');
    state.serving = null;
  }
  await retirement.finished();
  await condition(() => entity.outbox.isEmpty);
  entity.outbox.close();
  await control(`Forget ${namespace}/${name}`).forgetObject({ namespace, name });
}
