import { Client, Connection, WorkflowNotFoundError, isGrpcServiceError } from '@temporalio/client';
import type { ReplicaFacts } from '../../domain/inference-service/messages.ts';
import { lifecycle } from '../../domain/inference-service/messages.ts';
import type { Wake } from '../../domain/inference-service/observe.ts';

/** Where signals go; in tests, a list. */
export interface Entities {
  /** Resolves when the signal is sent, or when there is no such entity any more. */
  wake(wake: Wake): Promise<void>;
  close(): Promise<void>;
}

const deadlineMs = 5_000;
/** gRPC's NOT_FOUND. */
const notFound = 5;

/** Sends signals over one lazy connection: the server may be away at start and later. */
export function temporalEntities(address: string, namespace: string): Entities {
  const connection = Connection.lazy({ address, connectTimeout: deadlineMs });
  const client = new Client({ connection, namespace });
  return {
    async wake(wake) {
      const { service } = wake;
      const handle = client.workflow.getHandle(lifecycle.workflowId(service.namespace, service.name));
      try {
        await connection.withDeadline(Date.now() + deadlineMs, () =>
          wake.kind === 'retry'
            ? handle.signal(lifecycle.retry)
            : handle.signal<[ReplicaFacts]>(lifecycle.replicasObserved, wake.facts),
        );
      } catch (error) {
        if (!isGone(error)) throw error;
      }
    },
    close: () => connection.close(),
  };
}

function isGone(error: unknown): boolean {
  if (error instanceof WorkflowNotFoundError) return true;
  return isGrpcServiceError(error) && (error.code as number) === notFound;
}
