import type { LastFailureInfo } from './inference-service.schema.ts';
import type { ReplicaFacts, ServingRevision } from './messages.ts';
import type { EntityState } from './reconcile.ts';

/** What a fact about replicas changes, and what is to be told about it. */
export interface Observed {
  readonly serving: ServingRevision;
  readonly lost: EntityState['lost'];
  readonly failure: LastFailureInfo | null;
  readonly event: {
    readonly type: 'Normal' | 'Warning';
    readonly reason: string;
    readonly message: string;
  } | null;
}

/**
 * Takes in what the observer saw of a revision's replicas. Facts about any revision but the serving one are late
 * or early, and change nothing: an attempt waits for its own servers itself.
 *
 * @returns null when nothing changes
 */
export function observe(state: EntityState, facts: ReplicaFacts): Observed | null {
  const { serving, failedGeneration } = state;
  if (serving?.revision !== facts.revision) return null;
  const wanted = serving.workload.replicas;
  const ready = facts.known ? facts.ready : 0;
  const lost = facts.known ? null : (state.lost ?? { failures: 0, nextAtMs: 0 });
  const wasReady = serving.ready >= wanted && state.lost === null;
  const isReady = ready >= wanted && lost === null;
  // The reason of a failed newer generation is what the user must see; replicas of the old one come second.
  const keeps = failedGeneration !== null;
  const failure = keeps ? state.failure : isReady ? null : (failureOf(facts, serving) ?? state.failure);
  return { serving: { ...serving, ready }, lost, failure, event: eventOf(facts, wasReady, isReady, wanted) };
}

function failureOf(facts: ReplicaFacts, serving: ServingRevision): LastFailureInfo | null {
  const { failure } = facts;
  if (failure === undefined) return null;
  return { ...failure, location: serving.component, modelRevisionName: facts.revision };
}

function eventOf(
  facts: ReplicaFacts,
  wasReady: boolean,
  isReady: boolean,
  wanted: number,
): Observed['event'] {
  if (isReady && !wasReady) {
    return { type: 'Normal', reason: 'InferenceServiceReady', message: `${facts.revision} is ready again` };
  }
  if (isReady || (!wasReady && facts.failure === undefined)) return null;
  const why = facts.failure ? `: ${facts.failure.reason}: ${facts.failure.message}` : '';
  const message = facts.known
    ? `${facts.ready} of ${wanted} replicas of ${facts.revision} are ready${why}`
    : `no node knows ${facts.revision} any more; it is started again`;
  return { type: 'Warning', reason: 'InferenceServiceNotReady', message };
}
