import type { Condition } from './inference-service.schema.ts';
import { latestCreated, latestFailed, type StatusFacts } from './status-facts.ts';

/** Types whose severity is the error's, which KServe writes as none; all others are Info. */
const severe = new Set(['Ready', 'PredictorReady', 'IngressReady']);

interface Verdict {
  readonly status: Condition['status'];
  readonly reason?: string;
  readonly message?: string;
}
const isTrue: Verdict = { status: 'True' };
/** Knative's word for a revision that is scaled to nothing: it is Ready, since a request brings it back. */
const asleep: Verdict = { status: 'False', reason: 'NoTraffic', message: 'Asleep: a request wakes it' };

/**
 * KServe's conditions from the facts, sorted by type as Knative sorts them on every write. A condition keeps the
 * time of its last change until something else in it changes; True has no reason and no message.
 */
export function statusConditions(
  facts: StatusFacts,
  previous: readonly Condition[],
  now: string,
): Condition[] {
  const predictor = predictorReady(facts);
  const ingress = ingressReady(facts);
  const latest = latestDeploymentReady(facts);
  const verdicts: Readonly<Record<string, Verdict>> = {
    PredictorReady: predictor,
    IngressReady: ingress,
    LatestDeploymentReady: latest,
    PredictorConfigurationReady: latest,
    PredictorRouteReady: ingress,
    RoutesReady: ingress,
    Stopped: { status: facts.stopped ? 'True' : 'False' },
    AllFieldsInEffect: allFieldsInEffect(facts),
    ...(facts.asleep === true ? { Active: asleep } : {}),
  };
  const stamp = (type: string, verdict: Verdict) => stamped(type, verdict, previous, now);
  const conditions = Object.entries(verdicts).map(([type, verdict]) => stamp(type, verdict));
  return [...conditions, stamp('Ready', readyOf(conditions))].sort((a, b) => (a.type < b.type ? -1 : 1));
}

/**
 * Knative's living condition over PredictorReady and IngressReady: the False that changed last wins, then
 * Unknown, then True.
 */
function readyOf(conditions: readonly Condition[]): Verdict {
  const dependents = ['PredictorReady', 'IngressReady'].flatMap((type) =>
    conditions.filter((condition) => condition.type === type),
  );
  for (const status of ['False', 'Unknown'] as const) {
    const [first] = dependents
      .filter((condition) => condition.status === status)
      .sort((a, b) =>
        a.lastTransitionTime > b.lastTransitionTime
          ? -1
          : a.lastTransitionTime < b.lastTransitionTime
            ? 1
            : 0,
      );
    if (first !== undefined) {
      return {
        status,
        ...(first.reason === undefined ? {} : { reason: first.reason }),
        ...(first.message === undefined ? {} : { message: first.message }),
      };
    }
  }
  return isTrue;
}

function predictorReady(facts: StatusFacts): Verdict {
  const { serving, attempt, failure } = facts;
  const gone = goingAway(facts);
  if (gone !== null) return gone;
  if (facts.asleep === true) return isTrue;
  if (serving !== null) {
    if (serving.ready > 0) return isTrue;
    const why = failure ?? {
      reason: 'NoReplicaReady',
      message: `No replica of ${serving.revision} is ready`,
    };
    return { status: 'False', reason: why.reason, message: why.message };
  }
  if (attempt !== null) return underWay(facts);
  if (failure !== null && latestFailed(facts)) {
    return { status: 'False', reason: failure.reason, message: failure.message };
  }
  return { status: 'Unknown', reason: 'Pending', message: 'Nothing was started yet' };
}

function ingressReady(facts: StatusFacts): Verdict {
  const gone = goingAway(facts);
  if (gone !== null) return gone;
  if (facts.asleep === true) return isTrue;
  if (facts.serving !== null) return isTrue;
  return {
    status: 'Unknown',
    reason: 'PredictorNotReady',
    message: 'The gateway routes requests once the predictor is ready',
  };
}

function latestDeploymentReady(facts: StatusFacts): Verdict {
  const { serving, failure } = facts;
  const gone = goingAway(facts);
  if (gone !== null) return gone;
  if (facts.asleep === true) return isTrue;
  if (facts.attempt !== null) return underWay(facts);
  if (failure !== null && latestFailed(facts)) {
    return { status: 'False', reason: failure.reason, message: failure.message };
  }
  if (serving !== null && facts.observedGeneration >= facts.generation) {
    return serving.ready > 0 && serving.revision === latestCreated(facts) ? isTrue : predictorReady(facts);
  }
  return { status: 'Unknown', reason: 'Pending', message: 'The latest generation was not started yet' };
}

function goingAway({ stopped, deleting }: StatusFacts): Verdict | null {
  if (deleting) return { status: 'False', reason: 'Deleting', message: 'The service is being deleted' };
  if (stopped) return { status: 'False', reason: 'Stopped', message: 'The service is stopped' };
  return null;
}

function underWay({ attempt }: StatusFacts): Verdict {
  const step = attempt?.step ?? 'Pending';
  const messages = {
    Pending: 'It was not started yet',
    Resolving: 'A runtime is being chosen',
    Preparing: 'The model is being fetched and its environment made',
    Starting: 'Servers are coming up',
    Routing: 'Traffic is moving to the new revision',
  };
  return { status: 'Unknown', reason: step, message: messages[step] };
}

function allFieldsInEffect({ withoutEffect }: StatusFacts): Verdict {
  if (withoutEffect.length === 0) return isTrue;
  return {
    status: 'False',
    reason: 'NoEffectYet',
    message: `Set, but without effect yet on this platform: ${withoutEffect.join(', ')}`,
  };
}

function stamped(type: string, verdict: Verdict, previous: readonly Condition[], now: string): Condition {
  const { status, reason, message } = verdict;
  const condition = {
    type,
    status,
    ...(severe.has(type) ? {} : { severity: 'Info' }),
    ...(status === 'True' || reason === undefined ? {} : { reason }),
    ...(status === 'True' || message === undefined ? {} : { message }),
  };
  const before = previous.find((candidate) => candidate.type === type);
  const kept = before !== undefined && sameCondition(before, condition) ? before.lastTransitionTime : now;
  return { ...condition, lastTransitionTime: kept };
}

type Timeless = Omit<Condition, 'lastTransitionTime'>;

function sameCondition(a: Timeless, b: Timeless): boolean {
  return (
    a.status === b.status && a.severity === b.severity && a.reason === b.reason && a.message === b.message
  );
}
