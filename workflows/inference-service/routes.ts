import { CancellationScope, log } from '@temporalio/workflow';
import { assignmentFor, drainTimeoutMs } from '../../domain/inference-service/reconcile-routes.ts';
import type { RouteFacts } from '../../domain/inference-service/reconcile-routes.ts';
import type { RevisionRecord, ServingRevision } from '../../domain/inference-service/messages.ts';
import { revisionId } from '../../domain/workload/workload.ts';
import type { Entity } from './entity.ts';
import { control, removing, waiting } from './activities.ts';

const gatewaysTimeoutMs = 10_000;

/**
 * Publishes that the service does not serve, and why. Gateways answer with the message; nothing depends on it, so
 * a refusal is logged and the work goes on.
 *
 * @returns the version of the route table that says so; 0 when the control API refused it
 */
export async function publishIdle(
  entity: Entity,
  state: 'Loading' | 'Failed' | 'Stopped' | 'Asleep',
  message: string,
): Promise<number> {
  if (entity.state.routed === state && state === 'Loading') return 0;
  const { object } = entity;
  const facts: RouteFacts = {
    object,
    generation: entity.state.generation,
    state,
    message,
    workload: null,
    revision: null,
  };
  try {
    const { version } = await control(`Route ${object.metadata.name}: ${state}`).publishRoutes(
      assignmentFor(facts),
    );
    entity.state.routed = state;
    return version;
  } catch (error) {
    if (CancellationScope.current().consideredCancelled) throw error;
    log.warn('the control API refused a route', { error, state });
    entity.state.routed = state;
    return 0;
  }
}

/** Waits until gateways route by this version; one that is late or away does not hold up the service for ever. */
export async function reachGateways(entity: Entity, version: number): Promise<void> {
  const summary = `Wait until gateways have route table ${version}`;
  const { late } = await waiting(summary, gatewaysTimeoutMs).awaitGateways({
    version,
    timeoutMs: gatewaysTimeoutMs,
  });
  if (late.length > 0) {
    entity.event(
      'Warning',
      'GatewaysLate',
      `these gateways do not have the new routes yet: ${late.join(', ')}`,
    );
  }
}

/** Lets the requests in flight end, then stops the servers of a revision that gets no traffic any more. */
export async function takeDown(
  entity: Entity,
  serving: ServingRevision,
  version: number,
  outcome: RevisionRecord['outcome'],
): Promise<void> {
  const { namespace, name, component, revision } = serving;
  const key = { namespace, name, component, revision };
  const timeoutMs = drainTimeoutMs(entity.object);
  const drain = waiting(`Let the requests to ${revision} end`, timeoutMs);
  const { remaining } = await drain.awaitDrained({
    addresses: serving.addresses,
    version,
    revision: key,
    timeoutMs,
  });
  await removing(
    serving.node,
    `Stop the servers of ${revision} on node ${serving.node}`,
    serving.workload.terminationGraceMs,
  ).removeRevision(key);
  const cut = remaining > 0 ? ` (${remaining} requests were still running after ${timeoutMs / 1000} s)` : '';
  entity.event('Normal', 'RevisionRemoved', `${revision} was stopped${cut}`);
  entity.historyOf(serving, outcome, `${revisionId(key)} ${outcome.toLowerCase()}${cut}`);
}
