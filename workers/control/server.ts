import type { ConnectionLike } from '@temporalio/client';
import { lifecycle, searchAttributes } from '../../domain/inference-service/messages.ts';

/** temporal.api.enums.v1.IndexedValueType; the package that has the enum is no dependency of ours. */
const indexedValueType = { KEYWORD: 2, INT: 3 } as const;

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

/**
 * Tries until it succeeds or the signal is aborted, ever slower up to the limit.
 *
 * @returns undefined when aborted
 */
export async function persist<T>(
  work: () => Promise<T>,
  options: {
    readonly signal: AbortSignal;
    readonly firstMs: number;
    readonly maxMs: number;
    readonly onFailure: (error: unknown, tries: number) => void;
  },
): Promise<T | undefined> {
  for (let tries = 1; !options.signal.aborted; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if (options.signal.aborted) return undefined;
      options.onFailure(error, tries);
      await pause(Math.min(options.firstMs * 2 ** Math.min(tries - 1, 20), options.maxMs), options.signal);
    }
  }
  return undefined;
}

/** Resolves after the time, or at once when aborted. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', finish);
      resolve();
    };
    const timer = setTimeout(finish, ms);
    if (signal.aborted) finish();
    else signal.addEventListener('abort', finish, { once: true });
  });
}
