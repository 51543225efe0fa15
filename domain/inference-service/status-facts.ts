import { type Component, revisionName } from '../workload/workload.ts';
import type { InferenceService, LastFailureInfo } from './inference-service.schema.ts';
import type { ServingRevision } from './messages.ts';

export interface Attempt {
  readonly generation: number;
  readonly step: 'Resolving' | 'Preparing' | 'Starting' | 'Routing';
  readonly revision: string;
  /** Null until it is resolved. */
  readonly runtime: string | null;
}

/** All that a service's status is made of; the workflow keeps these facts, and nothing of the status itself. */
export interface StatusFacts {
  readonly object: InferenceService;
  readonly generation: number;
  /** Newest generation that an attempt was finished for, well or not. */
  readonly observedGeneration: number;
  readonly stopped: boolean;
  /** No server is to run until a request asks for one; absent: false. */
  readonly asleep?: boolean;
  readonly deleting: boolean;
  /** What is under way. */
  readonly attempt: Attempt | null;
  /** What serves now. */
  readonly serving: ServingRevision | null;
  /** The revision that served before the one that serves now. */
  readonly previousRevision: string | null;
  readonly failure: LastFailureInfo | null;
  readonly failedGeneration: number | null;
  readonly withoutEffect: readonly string[];
  /** http://host:port of the gateway. */
  readonly gatewayUrl: string;
  /** Domain of service hosts. */
  readonly domain: string;
}

/** The component that makes revisions now; transformers and explainers follow with their own issue. */
export const component: Component = 'predictor';

/** Failures of the spec: nothing was started for them. */
export const invalidSpecReasons: ReadonlySet<string> = new Set([
  'NoSupportingRuntime',
  'RuntimeNotRecognized',
  'RuntimeDisabled',
  'InvalidPredictorSpec',
]);

/** True when the newest generation was tried and did not come up. */
export function latestFailed(facts: StatusFacts): boolean {
  return facts.failure !== null && facts.failedGeneration === facts.generation;
}

/** The newest revision that came to be: a spec that could not be resolved makes none. */
export function latestCreated(facts: StatusFacts): string | null {
  const { attempt, serving, failure } = facts;
  if (attempt !== null && attempt.step !== 'Resolving') return attempt.revision;
  if (
    attempt === null &&
    failure !== null &&
    latestFailed(facts) &&
    !invalidSpecReasons.has(failure.reason)
  ) {
    return failure.modelRevisionName ?? revisionName(facts.object.metadata.name, component, facts.generation);
  }
  return serving?.revision ?? null;
}
