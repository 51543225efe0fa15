import type { ModelSource, LocalEnvironment, RevisionKey, Workload } from '../workload/workload.ts';

/** Task queue of a node's agent: only that agent polls it, so an activity sent there runs on that node. */
export const agentTaskQueue = (node: string): string => `muster-agent-${node}`;

export interface FetchModelsInput extends RevisionKey {
  readonly models: readonly ModelSource[];
}
export interface FetchedModels {
  /** Folder that holds the files, complete and verified. */
  readonly modelDir: string;
  /** SHA-256 over the names and digests of all files. */
  readonly digest: string;
  readonly bytes: number;
}

export interface PrepareEnvironmentInput extends RevisionKey {
  readonly environment: LocalEnvironment;
}

export interface ApplyRevisionInput {
  readonly workload: Workload;
  readonly modelDir: string;
}
export interface ApplyRevisionOutcome {
  readonly started: number;
  readonly kept: number;
  readonly stopped: number;
}

export interface AwaitRevisionInput extends RevisionKey {
  readonly replicas: number;
  readonly timeoutMs: number;
}

/**
 * The activities a node agent offers, all idempotent. Failures are ApplicationFailures whose type is an
 * ErrorCode of domain/errors.ts; those that another try cannot cure are non-retryable.
 */
export interface AgentActivities {
  /** Downloads into the node's model folder; concurrent calls for one source share one download. Heartbeats TransferReport. */
  fetchModels(input: FetchModelsInput): Promise<FetchedModels>;
  /** Makes the environment if absent; concurrent calls share one. Heartbeats TransferReport. */
  prepareEnvironment(input: PrepareEnvironmentInput): Promise<void>;
  /** Observe, plan, apply: makes the node run exactly `workload.replicas` of the revision. Returns at once. */
  applyRevision(input: ApplyRevisionInput): Promise<ApplyRevisionOutcome>;
  /**
   * Returns when all replicas are ready and the control API knows their addresses. Fails, not retryable, with
   * `model_load_failed` when one crashed twice before it was ready or the time is over; heartbeats.
   */
  awaitRevision(
    input: AwaitRevisionInput,
  ): Promise<{ readonly ready: number; readonly addresses: readonly string[] }>;
  /** Stops the revision's servers (SIGTERM, grace, SIGKILL) and forgets it. Ok when there is none. */
  removeRevision(input: RevisionKey): Promise<{ readonly stopped: number }>;
}
