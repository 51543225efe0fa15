import { setTimeout as sleep } from 'node:timers/promises';
import {
  Client,
  Connection,
  WithStartWorkflowOperation,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
  isGrpcServiceError,
} from '@temporalio/client';
import { ApplicationFailure, NamespaceNotFoundError } from '@temporalio/common';
import { batchJob } from '../../domain/batch/messages.ts';
import type { BatchJobInput } from '../../domain/batch/messages.ts';
import type { ErrorCode } from '../../domain/errors.ts';
import { MusterError, errorCodes } from '../../domain/errors.ts';
import type {
  ApplyOutcome,
  ApplyRequest,
  InferenceServiceInput,
  SetStoppedRequest,
} from '../../domain/inference-service/messages.ts';
import { lifecycle as names } from '../../domain/inference-service/messages.ts';
import type { Lifecycle } from './lifecycle.ts';

export interface TemporalOptions {
  readonly address: string;
  readonly namespace: string;
  /** How long Temporal itself may take to answer a ping. */
  readonly pingTimeoutMs?: number;
  /** How long a worker may take to accept a change. */
  readonly answerTimeoutMs?: number;
  /** Overrides the task queue of the messages, for tests that run beside others. */
  readonly taskQueue?: string;
}

/** `muster status` does not wait long for a server that is away. */
const glanceTimeoutMs = 1_000;
const retryPauseMs = 100;
const grpcStatus = { cancelled: 1, deadlineExceeded: 4, notFound: 5 } as const;
/** RESOURCE_EXHAUSTED, ABORTED, UNAVAILABLE: another try may do. */
const passing = new Set([8, 10, 14]);

/**
 * Speaks to the workflows by the names of domain/inference-service/messages.ts. The connection is made on first use
 * and mends itself: gRPC's own pause between tries may grow to two minutes, so it is held short. Each change is
 * preceded by a ping, which tells a Temporal that is away (said at once) from a worker that is slow (waited for).
 */
export function temporalLifecycle(options: TemporalOptions): Lifecycle {
  const { address, namespace, pingTimeoutMs = 3_000, answerTimeoutMs = 30_000 } = options;
  const taskQueue = options.taskQueue ?? names.taskQueue;
  const connection = Connection.lazy({
    address,
    connectTimeout: pingTimeoutMs,
    // The SDK's own retries go on in timers after their caller gave up, and throw there once the channel is closed.
    interceptors: [],
    channelArgs: {
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.min_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
    },
  });
  const client = new Client({ connection, namespace });

  // Not `ensureConnected`: that remembers a first failure for ever.
  const ping = async (until: number): Promise<void> => {
    try {
      await connection.withDeadline(until, () => connection.workflowService.getSystemInfo({}));
    } catch (cause) {
      throw unavailable(address, cause);
    }
  };

  /** Tries again while Temporal is away for a moment (it starts, or moves its shards); every change is idempotent. */
  const ask = async <T>(call: () => Promise<T>): Promise<T> => {
    const giveUpAt = Date.now() + pingTimeoutMs;
    // What Temporal itself said counts for more than that it did not answer within the last moment.
    let said: MusterError | null = null;
    for (;;) {
      try {
        await ping(giveUpAt);
        return await connection.withDeadline(Date.now() + answerTimeoutMs, call);
      } catch (cause) {
        const error = musterErrorOf(cause, options);
        if (!(error instanceof MusterError) || error.code !== 'temporal_unavailable') throw error;
        if (cause instanceof NamespaceNotFoundError) said = error;
        if (Date.now() + retryPauseMs >= giveUpAt) throw said ?? error;
        await sleep(retryPauseMs);
      }
    }
  };

  return {
    apply: (object, generationBefore = 0) =>
      ask(() => apply(client, taskQueue, { object, generationBefore })),
    setStopped: (ns, name, stopped) =>
      ask(() =>
        client.workflow
          .getHandle(names.workflowId(ns, name))
          .executeUpdate<ApplyOutcome, [SetStoppedRequest]>(names.setStopped, { args: [{ stopped }] }),
      ),
    sleep: (ns, name) =>
      ask(() =>
        client.workflow.getHandle(names.workflowId(ns, name)).executeUpdate<ApplyOutcome, []>(names.sleep),
      ),
    wake: (ns, name) =>
      ask(() => client.workflow.getHandle(names.workflowId(ns, name)).signal(names.activate)),
    remove: (ns, name) =>
      ask(async () => {
        await client.workflow.getHandle(names.workflowId(ns, name)).executeUpdate(names.remove);
      }),
    startBatch: (id) =>
      ask(async () => {
        const input: BatchJobInput = { batchId: id };
        await client.workflow.start(batchJob.workflowType, {
          workflowId: batchJob.workflowId(id),
          taskQueue,
          args: [input],
          workflowIdConflictPolicy: 'USE_EXISTING',
          // A batch has one life: its workflow does not begin again once it has ended.
          workflowIdReusePolicy: 'REJECT_DUPLICATE',
          staticSummary: `Batch ${id}`,
        });
      }).catch((error: unknown) => {
        if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
      }),
    cancelBatch: (id) =>
      ask(() => client.workflow.getHandle(batchJob.workflowId(id)).signal(batchJob.cancel)),
    async isReachable() {
      try {
        await ping(Date.now() + Math.min(pingTimeoutMs, glanceTimeoutMs));
        return true;
      } catch {
        return false;
      }
    },
    close: () => connection.close(),
  };
}

async function apply(client: Client, taskQueue: string, request: ApplyRequest): Promise<ApplyOutcome> {
  const { name, namespace = 'default' } = request.object.metadata;
  const input: InferenceServiceInput = { namespace, name };
  const startWorkflowOperation = new WithStartWorkflowOperation<
    (input: InferenceServiceInput) => Promise<unknown>
  >(names.workflowType, {
    workflowId: names.workflowId(namespace, name),
    taskQueue,
    args: [input],
    workflowIdConflictPolicy: 'USE_EXISTING',
    staticSummary: `InferenceService ${namespace}/${name}`,
    memo: { namespace, name },
  });
  return await client.workflow.executeUpdateWithStart<
    (input: InferenceServiceInput) => Promise<unknown>,
    ApplyOutcome,
    [ApplyRequest]
  >(names.apply, { args: [request], startWorkflowOperation });
}

function musterErrorOf(error: unknown, { address, namespace }: TemporalOptions): unknown {
  if (error instanceof MusterError) return error;
  if (error instanceof WorkflowUpdateFailedError) return refusal(error);
  const status = grpcCode(error);
  if (error instanceof NamespaceNotFoundError) {
    return new MusterError(
      'temporal_unavailable',
      `Temporal at ${address} has no namespace ${namespace}. Make it there, or correct TEMPORAL_NAMESPACE.`,
      { cause: error },
    );
  }
  if (error instanceof WorkflowNotFoundError || status === grpcStatus.notFound) {
    return new MusterError('not_found', 'The service has no workflow.', { cause: error });
  }
  if (error instanceof WorkflowUpdateRPCTimeoutOrCancelledError) return silentWorker(error);
  if (status === grpcStatus.deadlineExceeded || status === grpcStatus.cancelled) return silentWorker(error);
  if (status !== undefined && passing.has(status)) return unavailable(address, error);
  return error;
}

/** The workflow's own words; its failure's type is one of our codes when it is not about the manifest. */
function refusal(error: WorkflowUpdateFailedError): MusterError {
  const { cause } = error;
  const type = cause instanceof ApplicationFailure ? cause.type : undefined;
  const code: ErrorCode = errorCodes.find((known) => known === type) ?? 'invalid_manifest';
  return new MusterError(code, cause?.message ?? error.message, { cause: error });
}

function silentWorker(cause: unknown): MusterError {
  return new MusterError(
    'timeout',
    'No control worker answered in time. Check that one is running (muster status), then apply again; applying twice does no harm.',
    { cause },
  );
}

function unavailable(address: string, cause: unknown): MusterError {
  return new MusterError(
    'temporal_unavailable',
    `Temporal does not answer at ${address}, so nothing can be changed now. What is deployed goes on serving; try again when Temporal is back.`,
    { cause },
  );
}

function grpcCode(error: unknown): number | undefined {
  let at: unknown = error;
  for (let depth = 0; depth < 4 && at instanceof Error; depth++) {
    if (isGrpcServiceError(at)) return at.code;
    at = at.cause;
  }
  return undefined;
}
