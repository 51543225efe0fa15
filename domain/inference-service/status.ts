import { statusConditions } from './conditions.ts';
import { annotatedDeploymentMode } from './deployment-mode.ts';
import type { InferenceServiceStatus, ModelStatus } from './inference-service.schema.ts';
import type { Phase } from './messages.ts';
import {
  component,
  invalidSpecReasons,
  latestCreated,
  latestFailed,
  type Attempt,
  type StatusFacts,
} from './status-facts.ts';

export type { Attempt, StatusFacts } from './status-facts.ts';

/** One word for where the service is. */
export function phaseOf(facts: StatusFacts): Phase {
  const { serving, attempt } = facts;
  if (facts.deleting) return 'Deleting';
  if (facts.stopped) return serving === null && attempt === null ? 'Stopped' : 'Stopping';
  if (facts.asleep === true) return serving === null && attempt === null ? 'Asleep' : 'Stopping';
  if (attempt !== null) return attempt.step;
  if (latestFailed(facts)) return serving === null ? 'Failed' : 'Degraded';
  if (serving === null || facts.observedGeneration < facts.generation) return 'Pending';
  return serving.ready < serving.workload.replicas ? 'Degraded' : 'Ready';
}

/**
 * The status as KServe writes it, from facts alone; `previous` gives the conditions the times of their last
 * change. Differences from v0.15, on purpose: observedGeneration is the service's own, lastFailureInfo goes when
 * the model is loaded, and copies count all replicas and not the newest alone.
 *
 * @param now RFC 3339, the workflow's clock
 */
export function inferenceServiceStatus(
  facts: StatusFacts,
  previous: InferenceServiceStatus | undefined,
  now: string,
): InferenceServiceStatus {
  const mode = annotatedDeploymentMode(facts.object);
  const conditions = statusConditions(facts, previous?.conditions ?? [], now);
  return {
    observedGeneration: facts.observedGeneration,
    conditions,
    ...(facts.stopped ? {} : running(facts)),
    ...(mode === null ? {} : { deploymentMode: mode }),
  };
}

/** Everything that a stopped service does not have (KServe clears it too). */
function running(facts: StatusFacts): Partial<InferenceServiceStatus> {
  const addresses = isReachable(facts) ? urls(facts) : {};
  return {
    ...addresses,
    components: { [component]: { ...revisions(facts), ...addresses } },
    modelStatus: modelStatus(facts),
  };
}

/** One that sleeps is woken by a request to its address. */
function isReachable({ serving, asleep }: StatusFacts): boolean {
  return serving !== null || asleep === true;
}

function urls({ object, domain, gatewayUrl }: StatusFacts): { url: string; address: { url: string } } {
  const { name, namespace = 'default' } = object.metadata;
  return {
    url: `http://${name}-${namespace}.${domain}`,
    address: { url: `${gatewayUrl}/serving/${namespace}/${name}` },
  };
}

function revisions(facts: StatusFacts): NonNullable<InferenceServiceStatus['components']>[string] {
  const { serving, previousRevision } = facts;
  const created = latestCreated(facts);
  return {
    ...(created === null ? {} : { latestCreatedRevision: created }),
    ...(serving === null
      ? {}
      : {
          latestReadyRevision: serving.revision,
          latestRolledoutRevision: serving.revision,
          traffic: [
            { revisionName: serving.revision, latestRevision: serving.revision === created, percent: 100 },
          ],
        }),
    ...(previousRevision === null ? {} : { previousRolledoutRevision: previousRevision }),
  };
}

function modelStatus(facts: StatusFacts): ModelStatus {
  const { serving, failure } = facts;
  const target = targetState(facts);
  const loaded = target === 'Loaded' && serving !== null && serving.ready > 0;
  return {
    transitionStatus: transition(facts, target),
    states: {
      activeModelState: serving === null ? '' : serving.ready > 0 ? 'Loaded' : 'Pending',
      targetModelState: target,
    },
    ...(failure === null || loaded ? {} : { lastFailureInfo: failure }),
    ...(serving === null
      ? {}
      : {
          copies: {
            failedCopies: Math.max(0, serving.workload.replicas - serving.ready),
            totalCopies: serving.ready,
          },
        }),
  };
}

type State = ModelStatus['states']['targetModelState'];

function targetState(facts: StatusFacts): State {
  const { attempt, serving } = facts;
  if (attempt !== null) {
    if (attempt.step === 'Resolving') return 'Pending';
    return attempt.step === 'Routing' ? 'Loaded' : 'Loading';
  }
  if (latestFailed(facts)) return 'FailedToLoad';
  if (serving === null || facts.observedGeneration < facts.generation) return 'Pending';
  return serving.ready > 0 ? 'Loaded' : 'Pending';
}

function transition(facts: StatusFacts, target: State): ModelStatus['transitionStatus'] {
  if (target === 'FailedToLoad') {
    return invalidSpecReasons.has(facts.failure?.reason ?? '') ? 'InvalidSpec' : 'BlockedByFailedLoad';
  }
  return target === 'Loaded' && facts.attempt === null ? 'UpToDate' : 'InProgress';
}

/** What a person reads in the Temporal UI about the service now, in markdown. */
export function currentDetails(facts: StatusFacts): string {
  const { object, attempt, failure, withoutEffect } = facts;
  const { name, namespace = 'default' } = object.metadata;
  const lines = [`## ${namespace}/${name}: ${phaseOf(facts)}`, ''];
  lines.push(servingLine(facts));
  if (isReachable(facts) && !facts.stopped) lines.push(`- Address: ${urls(facts).address.url}`);
  if (attempt !== null) {
    const runtime = attempt.runtime === null ? '' : ` on runtime ${attempt.runtime}`;
    lines.push(
      `- Under way: generation ${attempt.generation}, revision ${attempt.revision}${runtime}: ${doing[attempt.step]}`,
    );
  }
  if (failure !== null) {
    lines.push(`- Last failure (${failure.time}): **${failure.reason}** ${oneLine(failure.message)}`);
  }
  if (withoutEffect.length > 0) {
    lines.push(`- Set, but without effect yet: ${withoutEffect.map((path) => `\`${path}\``).join(', ')}`);
  }
  return lines.join('\n');
}

const doing: Readonly<Record<Attempt['step'], string>> = {
  Resolving: 'choosing a runtime',
  Preparing: 'fetching the model and making the environment',
  Starting: 'servers are coming up',
  Routing: 'traffic moves to it',
};

function servingLine({ serving, stopped, asleep }: StatusFacts): string {
  if (serving === null && asleep === true) return '- Asleep: nothing runs, a request wakes it';
  if (serving === null) return stopped ? '- Stopped: nothing runs, the spec is kept' : '- Nothing serves yet';
  const { revision, ready, workload, node } = serving;
  const counts = `${ready} of ${workload.replicas} replicas ready`;
  return `- Serving: revision ${revision} on runtime ${workload.runtime}, node ${node}, ${counts}`;
}

/** Server logs can be long and have lines of their own; the interface shows one entry a line. */
function oneLine(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length > 500 ? `${line.slice(0, 500)}…` : line;
}
