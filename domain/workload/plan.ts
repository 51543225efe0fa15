import { sameDesired } from '../inference-service/equal.ts';
import type { InferenceService } from '../inference-service/inference-service.schema.ts';
import type { PlanReport } from './plan.schema.ts';
import type { Resolved } from './resolve.ts';
import type { LocalEnvironment, Workload } from './workload.ts';
import { changedPaths } from './changes.ts';

type Accepted = Extract<Resolved, { ok: true }>;

/**
 * What applying `next` would do, from the same rules that the workflow runs, printed in place of done.
 *
 * @param previous what is deployed now, or null
 * @param resolved of `next`, with the generation that it would get
 */
export function planChange(
  previous: InferenceService | null,
  resolved: Resolved,
  next: InferenceService,
): PlanReport {
  if (!resolved.ok) return refusedPlan(resolved, next);
  const { workload, runtime, node, withoutEffect } = resolved.resolution;
  const unchanged = previous !== null && sameDesired(previous, next);
  const action = previous === null ? 'Create' : unchanged ? 'NoChange' : 'Update';
  return {
    namespace: workload.namespace,
    name: workload.name,
    action,
    refusal: null,
    revision: workload.revision,
    runtime: {
      kind: runtime.kind,
      name: runtime.name,
      why: whyChosen(resolved, next),
      others: resolved.selection.others.map((other) => ({ ...other })),
    },
    node,
    protocols: [...workload.protocols],
    replicas: workload.replicas,
    models: workload.models.map(({ uri }) => uri),
    command: [...workload.command, ...workload.args],
    environment: environmentText(workload.environment),
    withoutEffect: [...withoutEffect],
    changes: previous === null || unchanged ? [] : changedPaths(previous, next),
    steps: unchanged
      ? ['Nothing changes: what is deployed is the same.']
      : steps(resolved, previous !== null),
  };
}

function refusedPlan(refusal: Exclude<Resolved, { ok: true }>, next: InferenceService): PlanReport {
  const { code, reason, message, error } = refusal;
  return {
    namespace: next.metadata.namespace ?? 'default',
    name: next.metadata.name,
    action: 'Refused',
    refusal: { code, reason, message, error },
    revision: null,
    runtime: null,
    node: null,
    protocols: [],
    replicas: null,
    models: [],
    command: [],
    environment: null,
    withoutEffect: [],
    changes: [],
    steps: [],
  };
}

function whyChosen(resolved: Accepted, next: InferenceService): string {
  const { name } = resolved.resolution.runtime;
  if (resolved.selection.explicit) return `the service names ${name}`;
  const format = next.spec.predictor.model?.modelFormat;
  const version = format?.version === undefined ? '' : ` ${format.version}`;
  const protocol = next.spec.predictor.model?.protocolVersion ?? 'v1';
  return `${name} comes first among the runtimes that serve ${format?.name ?? ''}${version} over ${protocol} here`;
}

function steps(resolved: Accepted, update: boolean): string[] {
  const { workload, node, withoutEffect } = resolved.resolution;
  return [
    ...environmentStep(workload, node),
    ...workload.models.map(({ uri, path }) =>
      path === ''
        ? `The model is fetched from ${uri}, unless node ${node} has it already.`
        : `${uri} is fetched into the model folder's ${path}, unless node ${node} has it already.`,
    ),
    `${replicaText(workload)} of revision ${workload.revision} ${workload.replicas === 1 ? 'starts' : 'start'} on node ${node} with runtime ` +
      `${workload.runtime}, and must be ready within ${workload.startupTimeoutMs / 1000} seconds.`,
    ...(update
      ? [
          'All requests move to the new revision once its replicas are ready; until then, and if they do not come ' +
            'up, the old revision serves.',
          'The old revision ends its requests and is stopped.',
        ]
      : ['The gateway routes requests to it once its replicas are ready.']),
    ...(withoutEffect.length === 0
      ? []
      : [`These fields have no effect yet on this platform: ${withoutEffect.join(', ')}.`]),
  ];
}

function environmentStep({ environment }: Workload, node: string): string[] {
  if (environment.kind === 'node' || environment.requirements.length === 0) return [];
  const list = environment.requirements.join(' ');
  return [`A python environment with ${list} is made on node ${node}, unless it is there already.`];
}

function environmentText(environment: LocalEnvironment): string {
  return environment.kind === 'node' ? 'node' : `python: ${environment.requirements.join(' ')}`;
}

function replicaText({ replicas }: Workload): string {
  return replicas === 1 ? '1 replica' : `${replicas} replicas`;
}
