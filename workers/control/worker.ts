import { Worker } from '@temporalio/worker';
import type { NativeConnection } from '@temporalio/worker';
import type { BatchActivities } from '../../domain/batch/messages.ts';
import type { ControlActivities } from '../../domain/inference-service/messages.ts';
import { lifecycle } from '../../domain/inference-service/messages.ts';
import type { LedgerActivities } from '../../domain/ledger/messages.ts';
import type { WorkflowBundle } from '../bundle.ts';

export interface ControlWorkerOptions {
  readonly connection: NativeConnection;
  readonly namespace: string;
  readonly bundle: WorkflowBundle;
  readonly activities: ControlActivities & Partial<BatchActivities & LedgerActivities>;
  /** How long activities may go on after a shutdown was asked for, before they are cancelled. */
  readonly shutdownGraceMs?: number;
}

/**
 * The worker that runs the workflows and the control activities. Every worker is a deployment version named by its
 * bundle's hash; entities follow the current version (AUTO_UPGRADE), because they outlive any build.
 */
export function createControlWorker(options: ControlWorkerOptions): Promise<Worker> {
  const { connection, namespace, bundle, activities } = options;
  return Worker.create({
    connection,
    namespace,
    taskQueue: lifecycle.taskQueue,
    workflowBundle: { code: bundle.code },
    activities,
    workerDeploymentOptions: {
      version: { deploymentName: lifecycle.deploymentName, buildId: bundle.buildId },
      useWorkerVersioning: true,
      defaultVersioningBehavior: 'AUTO_UPGRADE',
    },
    shutdownGraceTime: options.shutdownGraceMs ?? 3_000,
    // With Temporal away a shutdown cannot be clean; then it is at least short.
    shutdownForceTime: (options.shutdownGraceMs ?? 3_000) + 5_000,
    // The SDK derives these from the heap; said here, they are the same on every machine.
    maxCachedWorkflows: 500,
    maxConcurrentWorkflowTaskExecutions: 40,
    maxConcurrentActivityTaskExecutions: 100,
  });
}
