import type { InferenceService, LastFailureInfo } from './inference-service.schema.ts';
import type { ApplyOutcome, Carried, ServingRevision, Site } from './messages.ts';
import { sameDesired } from './equal.ts';

/**
 * What an InferenceService's entity decides, as pure functions over its state: what an apply changes, what has to
 * be done next, and whether what is under way must be given up. The workflow only carries the decisions out, so
 * the level-triggered rule (compare what is wanted with what is, act, look again) is tested without a server.
 */
export const stopAnnotation = 'serving.kserve.io/stop';

/** What the routes of the service say at present; null before anything was published. */
export type Routed = 'Loading' | 'Serving' | 'Failed' | 'Stopped' | 'Asleep' | null;

export interface EntityState {
  /** Desired state with metadata filled in; null until the first apply. */
  object: InferenceService | null;
  generation: number;
  observedGeneration: number;
  stopped: boolean;
  /** No server runs until a request asks for the service. */
  asleep: boolean;
  deleting: boolean;
  /** A failed generation is to be tried again. */
  retryWanted: boolean;
  serving: ServingRevision | null;
  previousRevision: string | null;
  /** Set while no node knows the serving revision: how often restoring it failed, and when to try next. */
  lost: { failures: number; nextAtMs: number } | null;
  failure: LastFailureInfo | null;
  failedGeneration: number | null;
  routed: Routed;
  withoutEffect: readonly string[];
  /** Known once a runtime was resolved; the control worker completes published addresses in any case. */
  site: Site;
}

export type Action = 'remove' | 'stop' | 'deploy' | 'restore' | 'rest';

/** The one thing to do next. Removal beats all; a stopped service is neither deployed nor restored. */
export function nextAction(state: EntityState, nowMs: number): Action {
  if (state.deleting) return 'remove';
  if (state.object === null) return 'rest';
  const idle = idleState(state);
  if (idle !== null) return state.serving !== null || state.routed !== idle ? 'stop' : 'rest';
  if (wantsDeployment(state)) return 'deploy';
  if (state.lost !== null && state.serving !== null && nowMs >= state.lost.nextAtMs) return 'restore';
  return 'rest';
}

/** How a service is routed that is to run no server; null: it is to run. A stop counts for more than sleep. */
export function idleState(state: EntityState): 'Stopped' | 'Asleep' | null {
  if (state.stopped) return 'Stopped';
  return state.asleep ? 'Asleep' : null;
}

/**
 * Whether an attempt for `generation` is pointless by now. Restoring the serving revision is given up for the
 * same reasons: something newer is wanted.
 */
export function isSuperseded(state: EntityState, generation: number): boolean {
  return state.deleting || idleState(state) !== null || state.generation !== generation;
}

/** Milliseconds until the entity must look again with nobody waking it; null: never. */
export function nextLookMs(state: EntityState, nowMs: number): number | null {
  if (state.lost === null || idleState(state) !== null || state.deleting) return null;
  return Math.max(1, state.lost.nextAtMs - nowMs);
}

/** Restoring a lost revision is tried again after 5 s, 10 s, … at most 5 minutes. */
export function restoreDelayMs(failures: number): number {
  return Math.min(5_000 * 2 ** Math.min(failures, 10), 300_000);
}

export interface Identity {
  readonly uid: string;
  readonly creationTimestamp: string;
}

/**
 * What applying `object` changes. The generation grows with the spec, as in Kubernetes, and also with labels and
 * annotations: they reach the workload (placeholders, environment, aliases), revisions are immutable, and the
 * generation is what names them; KServe makes a new revision then, too. Only the stop annotation leaves the
 * generation alone, because starting again must bring back the same revision.
 *
 * Equal desired state changes nothing, except when its generation failed: then it is tried again.
 */
export function decideApply(
  state: EntityState,
  object: InferenceService,
  identity: Identity,
  generationBefore = 0,
): ApplyOutcome & { readonly stopped: boolean; readonly retry: boolean } {
  const stopped = isStopped(object);
  const before = state.object;
  const sameRevision = before !== null && sameDesired(withoutStop(before), withoutStop(object));
  const retry = sameRevision && !stopped && state.failedGeneration === state.generation;
  const generation = sameRevision ? state.generation : Math.max(state.generation, generationBefore) + 1;
  const changed = !sameRevision || stopped !== state.stopped || retry;
  return { generation, changed, stopped, retry, object: stamped(object, before, generation, identity) };
}

/** The object with the stop annotation set or taken away. */
export function withStop(object: InferenceService, stopped: boolean): InferenceService {
  const rest = withoutStop(object);
  if (!stopped) return rest;
  const annotations = { ...rest.metadata.annotations, [stopAnnotation]: 'true' };
  return { ...rest, metadata: { ...rest.metadata, annotations } };
}

export function isStopped(object: InferenceService): boolean {
  return object.metadata.annotations?.[stopAnnotation]?.toLowerCase() === 'true';
}

/** State of a run: fresh, or as an earlier run of the same entity left it. */
export function initialState(carried: Carried | undefined): EntityState {
  return { ...fresh, ...carried, routed: carried === undefined ? null : routedAtRest(carried) };
}

const fresh: EntityState = {
  object: null,
  generation: 0,
  observedGeneration: 0,
  stopped: false,
  asleep: false,
  deleting: false,
  retryWanted: false,
  serving: null,
  previousRevision: null,
  lost: null,
  failure: null,
  failedGeneration: null,
  routed: null,
  withoutEffect: [],
  site: { gatewayUrl: '', domain: '' },
};

/** A run only ends at rest, and at rest the routes follow from the rest of the state. */
function routedAtRest(carried: Carried): EntityState['routed'] {
  if (carried.serving) return 'Serving';
  if (carried.stopped) return 'Stopped';
  if (carried.asleep === true) return 'Asleep';
  return carried.failure ? 'Failed' : null;
}

/** @throws TypeError when nothing was applied yet: such a run has nothing to carry. */
export function carry(state: EntityState): Carried {
  const { object, generation, observedGeneration, stopped, serving, failure, failedGeneration } = state;
  if (object === null) throw new TypeError('an entity without an object cannot be carried over');
  const { asleep, previousRevision, lost, withoutEffect, site } = state;
  return {
    object,
    generation,
    observedGeneration,
    stopped,
    ...(asleep ? { asleep } : {}),
    serving,
    failure,
    failedGeneration,
    previousRevision,
    lost,
    withoutEffect,
    site,
  };
}

function wantsDeployment(state: EntityState): boolean {
  if (state.observedGeneration < state.generation || state.retryWanted) return true;
  // Started again after a stop: the generation is known, but nothing serves it.
  return state.serving === null && state.failedGeneration !== state.generation;
}

function withoutStop(object: InferenceService): InferenceService {
  const { annotations, ...metadata } = object.metadata;
  if (annotations === undefined) return object;
  const kept = Object.fromEntries(Object.entries(annotations).filter(([key]) => key !== stopAnnotation));
  return {
    ...object,
    metadata: { ...metadata, ...(Object.keys(kept).length > 0 ? { annotations: kept } : {}) },
  };
}

/** Metadata that the server owns: kept from the object before; at first taken from the control API, or made. */
function stamped(
  object: InferenceService,
  before: InferenceService | null,
  generation: number,
  identity: Identity,
): InferenceService {
  const { resourceVersion: _version, managedFields: _fields, ...metadata } = object.metadata;
  const { status: _status, ...rest } = object;
  return {
    ...rest,
    metadata: {
      ...metadata,
      uid: before?.metadata.uid ?? metadata.uid ?? identity.uid,
      creationTimestamp:
        before?.metadata.creationTimestamp ?? metadata.creationTimestamp ?? identity.creationTimestamp,
      generation,
    },
    ...(before?.status === undefined ? {} : { status: before.status }),
  };
}
