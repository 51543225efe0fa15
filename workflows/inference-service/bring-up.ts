import { CancellationScope } from '@temporalio/workflow';
import type { RevisionKey, Workload } from '../../domain/workload/workload.ts';
import { displayUri } from '../../domain/storage/display-uri.ts';
import type { Entity } from './entity.ts';
import { applying, preparing, removing, starting } from './activities.ts';
import { together } from './interrupt.ts';

export interface Up {
  readonly ready: number;
  readonly addresses: readonly string[];
}

export function keyOf(workload: RevisionKey): RevisionKey {
  const { namespace, name, component, revision } = workload;
  return { namespace, name, component, revision };
}

/**
 * Puts the model's files and the servers' environment on the node, side by side.
 *
 * @returns the folder with the files; '' when the workload needs none
 */
export async function prepare(entity: Entity, node: string, workload: Workload): Promise<string> {
  const { models, environment, revision } = workload;
  const key = keyOf(workload);
  let modelDir = '';
  const steps: (() => Promise<void>)[] = [];
  if (models.length > 0) {
    steps.push(async () => {
      const from = models.map(({ uri }) => displayUri(uri)).join(', ');
      const agent = preparing(node, `Download model for ${revision} from ${from}`);
      const fetched = await agent.fetchModels({ ...key, models });
      modelDir = fetched.modelDir;
      entity.event(
        'Normal',
        'ModelDownloaded',
        `${fetched.bytes} bytes from ${from}, digest ${fetched.digest}`,
      );
    });
  }
  if (environment.kind === 'python') {
    steps.push(async () => {
      const agent = preparing(node, `Make the python environment for ${revision}`);
      await agent.prepareEnvironment({ ...key, environment });
    });
  }
  await together(steps);
  return modelDir;
}

/** Starts the servers and waits until all are ready; both steps may be repeated. */
export async function start(node: string, workload: Workload, modelDir: string): Promise<Up> {
  const { revision, replicas } = workload;
  await applying(node, `Start ${replicas} of ${revision} on node ${node}`).applyRevision({
    workload,
    modelDir,
  });
  return ready(node, workload);
}

export async function ready(node: string, workload: Workload): Promise<Up> {
  const { revision, replicas, startupTimeoutMs } = workload;
  const agent = starting(node, `Wait until ${revision} is ready`, startupTimeoutMs);
  return agent.awaitRevision({ ...keyOf(workload), replicas, timeoutMs: startupTimeoutMs });
}

/** Stops whatever was started of the revision. */
export async function tearDown(node: string, workload: Workload): Promise<void> {
  await CancellationScope.nonCancellable(() =>
    removing(
      node,
      `Remove what was started of ${workload.revision}`,
      workload.terminationGraceMs,
    ).removeRevision(keyOf(workload)),
  );
}
