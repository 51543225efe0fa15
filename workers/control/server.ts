import { isGrpcServiceError } from '@temporalio/client';
import type { ConnectionLike } from '@temporalio/client';
import { lifecycle, searchAttributes } from '../../domain/inference-service/messages.ts';

/** temporal.api.enums.v1.IndexedValueType; the package that has the enum is no dependency of ours. */
const indexedValueType = { KEYWORD: 2, INT: 3 } as const;

/** grpc.status.NOT_FOUND */
const notFound = 5;

/**
 * Makes the server know our search attributes; those it has are left alone. Must be done before the first workflow
 * task, since a workflow that writes an unknown attribute is refused.
 */
export async function registerSearchAttributes(connection: ConnectionLike, namespace: string): Promise<void> {
  const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
  const missing = Object.entries(searchAttributes).filter(([name]) => !(name in customAttributes));
  if (missing.length === 0) return;
  await connection.operatorService.addSearchAttributes({
    namespace,
    searchAttributes: Object.fromEntries(missing.map(([name, type]) => [name, indexedValueType[type]])),
  });
}

/** Sends new and running workflows to this build. Fails until the server has seen the worker poll. */
export async function makeCurrent(
  connection: ConnectionLike,
  namespace: string,
  buildId: string,
): Promise<void> {
  await connection.workflowService.setWorkerDeploymentCurrentVersion({
    namespace,
    deploymentName: lifecycle.deploymentName,
    buildId,
    identity: 'muster-control-worker',
    // Queues that only an older build polled are no reason to stay on it.
    ignoreMissingTaskQueues: true,
  });
}

/** Whether new workflows have a build to go to. They have none on a server that came back without its data. */
export async function hasCurrentBuild(connection: ConnectionLike, namespace: string): Promise<boolean> {
  const { deploymentName } = lifecycle;
  try {
    const { workerDeploymentInfo } = await connection.workflowService.describeWorkerDeployment({
      namespace,
      deploymentName,
    });
    return Boolean(workerDeploymentInfo?.routingConfig?.currentDeploymentVersion?.buildId);
  } catch (error) {
    if (isGrpcServiceError(error) && (error.code as number) === notFound) return false;
    throw error;
  }
}
