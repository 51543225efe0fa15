import { batcherDefaults } from '../batcher/batcher-defaults.ts';
import type { RouteAssignment } from '../route-table/route-table.schema.ts';
import type { Workload } from '../workload/workload.ts';
import { passAuthorizationAnnotation } from './annotations.ts';
import type { InferenceService } from './inference-service.schema.ts';
import { servedModelNames } from './model-name.ts';

/** How long requests may still run on a revision that is to be stopped, when the service sets no `timeout`. */
const defaultTimeoutMs = 60_000;

export interface RouteFacts {
  readonly object: InferenceService;
  readonly generation: number;
  readonly state: RouteAssignment['state'];
  readonly message: string;
  /** Null before a runtime is known. */
  readonly workload: Workload | null;
  /** The revision that gets all traffic; null: none does. */
  readonly revision: string | null;
}

/**
 * A service's traffic as gateways need it. A service that does not serve is routed, too: so a request for it is
 * answered with the reason, not with "unknown model". The activity that publishes it adds the host under the
 * configured domain, which is no decision of a workflow.
 */
export function assignmentFor(facts: RouteFacts): RouteAssignment {
  const { object, workload } = facts;
  const { models, upstream } = servedModelNames(object, {
    modelName: workload?.modelName ?? object.metadata.name,
  });
  return {
    namespace: object.metadata.namespace ?? 'default',
    name: object.metadata.name,
    generation: facts.generation,
    hosts: [],
    models,
    upstreamModel: upstream,
    protocols: [...(workload?.protocols ?? [])],
    timeoutMs: timeoutMs(object),
    state: facts.state,
    message: facts.message,
    createdAt: object.metadata.creationTimestamp ?? '',
    ...(passesAuthorization(object) ? { passAuthorization: true } : {}),
    ...loggerOf(object),
    ...batcherOf(object),
    traffic: facts.revision === null ? [] : [{ revision: facts.revision, percent: 100 }],
  };
}

/** How long to wait for requests in flight before a revision is stopped. */
export function drainTimeoutMs(object: InferenceService): number {
  return timeoutMs(object) ?? defaultTimeoutMs;
}

function passesAuthorization({ metadata }: InferenceService): boolean {
  return metadata.annotations?.[passAuthorizationAnnotation] === 'true';
}

/** KServe's fields, with the values of the annotations that it names: a gateway does not see the service itself. */
function loggerOf({ metadata, spec }: InferenceService): Pick<RouteAssignment, 'logger'> {
  const { logger } = spec.predictor;
  if (logger === undefined) return {};
  const { url, mode, metadataHeaders, metadataAnnotations = [] } = logger;
  const named = Object.entries(metadata.annotations ?? {}).filter(([name]) =>
    metadataAnnotations.includes(name),
  );
  return {
    logger: {
      ...(url === undefined ? {} : { url }),
      mode: mode === 'request' || mode === 'response' ? mode : 'all',
      ...(metadataHeaders === undefined ? {} : { metadataHeaders }),
      ...(named.length === 0 ? {} : { annotations: Object.fromEntries(named) }),
    },
  };
}

/** With the defaults of KServe's agent. */
function batcherOf({ spec }: InferenceService): Pick<RouteAssignment, 'batcher'> {
  const { batcher } = spec.predictor;
  if (batcher === undefined) return {};
  const { maxBatchSize = 0, maxLatency = 0, timeout = 0 } = batcher;
  return {
    batcher: {
      maxBatchSize: maxBatchSize > 0 ? maxBatchSize : batcherDefaults.maxBatchSize,
      maxLatencyMs: maxLatency > 0 ? maxLatency : batcherDefaults.maxLatencyMs,
      timeoutMs: timeout > 0 ? timeout * 1000 : batcherDefaults.timeoutMs,
    },
  };
}

function timeoutMs(object: InferenceService): number | null {
  const seconds = object.spec.predictor.timeout;
  return seconds !== undefined && seconds > 0 ? seconds * 1000 : null;
}
