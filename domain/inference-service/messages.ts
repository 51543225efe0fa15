import type { ReplicaReport } from '../node/report.schema.ts';
import type { RouteAssignment } from '../route-table/route-table.schema.ts';
import type { RevisionKey, Workload } from '../workload/workload.ts';
import type { InferenceService, LastFailureInfo } from './inference-service.schema.ts';

/**
 * Names of the messages that an InferenceService's workflow answers. Both sides take them from here, so that a
 * renamed message is a compile error and not a lost signal.
 */
export const lifecycle = {
  workflowType: 'inferenceService',
  taskQueue: 'muster-lifecycle',
  /** Worker deployment whose versions are bundle hashes. */
  deploymentName: 'muster',
  workflowId: (namespace: string, name: string): string => `isvc/${namespace}/${name}`,
  /** update: ApplyRequest -> ApplyOutcome. Refused (no event) with the validation's text. */
  apply: 'apply',
  /** update: SetStoppedRequest -> ApplyOutcome; keeps the spec. */
  setStopped: 'setStopped',
  /** update: -> ApplyOutcome; no server runs until `activate`. Refused while it is stopped. */
  sleep: 'sleep',
  /** signal: a request waits for the service; one that is not asleep takes no notice. */
  activate: 'activate',
  /** update: -> void once accepted; the workflow ends when all is removed. */
  remove: 'remove',
  /** signal: ReplicaFacts, sent by the observer on transitions only. */
  replicasObserved: 'replicasObserved',
  /** signal: try a failed generation again (a runtime it waited for has appeared). */
  retry: 'retry',
  /** query: -> InferenceService with status. */
  get: 'get',
} as const;

/** Search attributes; the worker registers them on the server when it starts. */
export const searchAttributes = {
  MusterNamespace: 'KEYWORD',
  MusterTenant: 'KEYWORD',
  MusterPhase: 'KEYWORD',
  MusterRuntime: 'KEYWORD',
  MusterModel: 'KEYWORD',
  MusterCanary: 'KEYWORD',
  MusterGeneration: 'INT',
} as const;

/** Where a service is in its life, in one word for search, the CLI and the Temporal UI. */
export type Phase =
  | 'Pending'
  | 'Resolving' // choosing a runtime
  | 'Preparing' // downloading the model, making the environment
  | 'Starting' // servers are coming up
  | 'Routing' // traffic moves to the new revision
  | 'Ready'
  | 'Degraded' // serving, but the latest generation failed or replicas are missing
  | 'Failed'
  | 'Stopping'
  | 'Stopped'
  | 'Asleep' // no server runs, and a request wakes it
  | 'Deleting';

export interface ApplyRequest {
  /** Defaulted and validated once by the control API; the workflow's validator checks it again. No status. */
  readonly object: InferenceService;
  /**
   * Newest generation that the store knows. A workflow that begins anew (Temporal's history was lost) goes on from
   * it, so that no revision gets the name of an earlier one.
   */
  readonly generationBefore?: number;
}
export interface ApplyOutcome {
  readonly generation: number;
  /** False when the object equals what is deployed (or being deployed) already. */
  readonly changed: boolean;
  readonly object: InferenceService;
}
export interface SetStoppedRequest {
  readonly stopped: boolean;
}

/** A transition that the observer saw in node reports. */
export interface ReplicaFacts {
  readonly revision: string;
  /** False: no node knows the revision any more, it must be applied again. */
  readonly known: boolean;
  readonly ready: number;
  readonly total: number;
  readonly failure?: ReplicaReport['failure'];
}

export interface Resolution {
  readonly workload: Workload;
  readonly runtime: { readonly kind: 'ServingRuntime' | 'ClusterServingRuntime'; readonly name: string };
  /** The node whose agent runs it. */
  readonly node: string;
  /** Fields of the spec that have no effect yet on this platform, as paths. */
  readonly withoutEffect: readonly string[];
  /** False when the control API has not heard of the node lately: work sent there waits for its agent. */
  readonly nodeIsLive?: boolean;
  /** Where users reach services, for the addresses in the status. */
  readonly site?: Site;
}

export interface Site {
  /** http://host:port of the gateway. */
  readonly gatewayUrl: string;
  /** Domain of service hosts. */
  readonly domain: string;
}

/**
 * Activities of the control worker; all go through the control API's internal HTTP, all are idempotent.
 * resolveRuntime's failures that only a change can cure are non-retryable ApplicationFailures of type
 * no_supporting_runtime, runtime_not_recognized, runtime_disabled, invalid_predictor_spec or
 * storage_not_supported, with LastFailureInfo's reason and message in details[0].
 */
export interface ControlActivities {
  resolveRuntime(input: {
    readonly object: InferenceService;
    readonly generation: number;
  }): Promise<Resolution>;
  /** Returns when the control API has heard of the node; waits for ever, heartbeats. */
  awaitNode(input: { readonly node: string }): Promise<void>;
  /** Writes the object with its status where the API reads it. Older generations never overwrite newer ones. */
  publishObject(input: { readonly object: InferenceService; readonly phase: Phase }): Promise<void>;
  /** Removes the object, its routes and its history from the store. */
  forgetObject(input: { readonly namespace: string; readonly name: string }): Promise<void>;
  /** Publishes a decision about traffic; answers with the version of the table that has it. */
  publishRoutes(input: RouteAssignment): Promise<{ readonly version: number }>;
  withdrawRoutes(input: {
    readonly namespace: string;
    readonly name: string;
  }): Promise<{ readonly version: number }>;
  /** Returns when every connected gateway has the version, or after timeoutMs with those that have not. */
  awaitGateways(input: {
    readonly version: number;
    readonly timeoutMs: number;
  }): Promise<{ readonly late: readonly string[] }>;
  /**
   * Returns when no gateway has requests in flight to the addresses, or after timeoutMs with their number. Gateways
   * count once they report a table of `version` or newer. Addresses that nodes report for `revision` count, too:
   * a restarted server has a new one.
   */
  awaitDrained(input: {
    readonly addresses: readonly string[];
    readonly version?: number;
    readonly revision?: RevisionKey;
    readonly timeoutMs: number;
  }): Promise<{ readonly remaining: number }>;
  /** A Kubernetes-like event about the service. */
  recordEvent(input: EventRecord): Promise<void>;
  /** One line of the service's history: what happened to a generation. */
  recordRevision(input: RevisionRecord): Promise<void>;
}

export interface EventRecord {
  readonly namespace: string;
  readonly name: string;
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
  /** RFC 3339, the workflow's clock. */
  readonly time: string;
}

export interface RevisionRecord {
  readonly namespace: string;
  readonly name: string;
  readonly generation: number;
  readonly revision: string;
  readonly runtime: string | null;
  readonly modelUri: string | null;
  readonly startedAt: string;
  readonly finishedAt: string | null;
  readonly outcome: 'InProgress' | 'Serving' | 'Failed' | 'Superseded' | 'Replaced' | 'Stopped' | 'Removed';
  readonly message: string;
}

/** State carried over continue-as-new: plain data, deadlines absolute, every list bounded. */
export interface Carried {
  readonly object: InferenceService;
  readonly generation: number;
  /** Newest generation that an attempt was finished for, well or not. */
  readonly observedGeneration: number;
  readonly stopped: boolean;
  readonly asleep?: boolean;
  /** What serves now. */
  readonly serving: ServingRevision | null;
  readonly failure: LastFailureInfo | null;
  readonly failedGeneration: number | null;
  /** What served before `serving`. */
  readonly previousRevision?: string | null;
  /** Set while no node knows the serving revision: failed tries to restore it, and when the next is due. */
  readonly lost?: { readonly failures: number; readonly nextAtMs: number } | null;
  readonly withoutEffect?: readonly string[];
  readonly site?: Site;
}
export interface ServingRevision extends RevisionKey {
  readonly node: string;
  readonly workload: Workload;
  readonly modelDir: string;
  readonly addresses: readonly string[];
  readonly ready: number;
  /** The generation it was made for, and when its attempt began (RFC 3339): for its line of history. */
  readonly generation?: number;
  readonly startedAt?: string;
}

export interface InferenceServiceInput {
  readonly namespace: string;
  readonly name: string;
  readonly carried?: Carried;
  /** Continue as new after this many events of history; tests set it low, the server suggests it otherwise. */
  readonly continueAfterEvents?: number;
}
