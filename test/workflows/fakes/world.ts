import { ApplicationFailure, Context } from '@temporalio/activity';
import type { InferenceService } from '../../../domain/inference-service/inference-service.schema.ts';
import type {
  ControlActivities,
  EventRecord,
  Phase,
  RevisionRecord,
} from '../../../domain/inference-service/messages.ts';
import type { AgentActivities } from '../../../domain/node/messages.ts';
import type { RouteAssignment } from '../../../domain/route-table/route-table.schema.ts';
import { revisionName } from '../../../domain/workload/workload.ts';
import type { Workload } from '../../../domain/workload/workload.ts';

type Activities = ControlActivities & AgentActivities;
export type ActivityName = keyof Activities;
type Fault = (input: never) => Promise<void> | void;

/**
 * The world outside the workflow, in memory: a control API and one node. It keeps what a real one would keep, fails
 * where a test says so, and notes each moment in which traffic was sent to servers that do not run.
 */
export class World {
  readonly calls: string[] = [];
  readonly events: EventRecord[] = [];
  readonly phases: Phase[] = [];
  readonly published: InferenceService[] = [];
  readonly revisions = new Map<string, RevisionRecord>();
  readonly outcomes: string[] = [];
  readonly routes = new Map<string, RouteAssignment>();
  readonly routeStates: string[] = [];
  readonly running = new Map<string, Workload>();
  readonly forgotten: string[] = [];
  /** Requests that would have failed: traffic to a revision that does not run. */
  readonly broken: string[] = [];
  nodeIsLive = true;
  private readonly faults = new Map<ActivityName, Fault>();
  private version = 0;

  /** Called before the named activity does anything; throws or waits to disturb it. */
  on<N extends ActivityName>(
    name: N,
    fault: (input: Parameters<Activities[N]>[0]) => Promise<void> | void,
  ): void {
    this.faults.set(name, fault);
  }

  calm(name: ActivityName): void {
    this.faults.delete(name);
  }

  eventReasons(): string[] {
    return this.events.map(({ reason }) => reason);
  }

  control(): ControlActivities {
    return {
      resolveRuntime: this.step('resolveRuntime', ({ object, generation }) => ({
        workload: workload(object, generation),
        runtime: { kind: 'ClusterServingRuntime' as const, name: 'muster-onnx' },
        node: 'local',
        withoutEffect: [],
        nodeIsLive: this.nodeIsLive,
        site: { gatewayUrl: 'http://127.0.0.1:8080', domain: 'example.com' },
      })),
      awaitNode: this.step('awaitNode', () => undefined),
      publishObject: this.step('publishObject', ({ object, phase }) => {
        this.published.push(object);
        if (this.phases.at(-1) !== phase) this.phases.push(phase);
      }),
      forgetObject: this.step('forgetObject', ({ namespace, name }) => {
        this.forgotten.push(`${namespace}/${name}`);
      }),
      publishRoutes: this.step('publishRoutes', (assignment) => {
        const absent = assignment.traffic.find(({ revision }) => !this.running.has(revision));
        if (absent)
          throw ApplicationFailure.nonRetryable(`${absent.revision} has no ready replica`, 'conflict');
        this.routes.set(`${assignment.namespace}/${assignment.name}`, assignment);
        this.routeStates.push(assignment.state);
        return { version: ++this.version };
      }),
      withdrawRoutes: this.step('withdrawRoutes', ({ namespace, name }) => {
        this.routes.delete(`${namespace}/${name}`);
        return { version: ++this.version };
      }),
      awaitGateways: this.step('awaitGateways', () => ({ late: [] })),
      awaitDrained: this.step('awaitDrained', () => ({ remaining: 0 })),
      recordEvent: this.step('recordEvent', (event) => {
        this.events.push(event);
      }),
      recordRevision: this.step('recordRevision', (record) => {
        this.revisions.set(record.revision, record);
        this.outcomes.push(`${record.revision} ${record.outcome}`);
      }),
    };
  }

  agent(): AgentActivities {
    return {
      fetchModels: this.step('fetchModels', ({ revision }) => ({
        modelDir: `/models/${revision}`,
        digest: 'abc',
        bytes: 1000,
      })),
      prepareEnvironment: this.step('prepareEnvironment', () => undefined),
      applyRevision: this.step('applyRevision', ({ workload: applied }) => {
        this.running.set(applied.revision, applied);
        return { started: applied.replicas, kept: 0, stopped: 0 };
      }),
      awaitRevision: this.step('awaitRevision', ({ revision, replicas }) => {
        if (!this.running.has(revision))
          throw ApplicationFailure.nonRetryable('not applied', 'model_load_failed');
        return { ready: replicas, addresses: [`http://127.0.0.1:1/${revision}`] };
      }),
      removeRevision: this.step('removeRevision', ({ revision }) => {
        for (const route of this.routes.values()) {
          if (route.traffic.some((target) => target.revision === revision)) this.broken.push(revision);
        }
        return { stopped: this.running.delete(revision) ? 1 : 0 };
      }),
    };
  }

  private step<N extends ActivityName>(
    name: N,
    work: (input: Parameters<Activities[N]>[0]) => Awaited<ReturnType<Activities[N]>>,
  ): Activities[N] {
    const run = async (input: Parameters<Activities[N]>[0]): Promise<Awaited<ReturnType<Activities[N]>>> => {
      this.calls.push(describeCall(name, input));
      await this.faults.get(name)?.(input as never);
      return work(input);
    };
    return run as Activities[N];
  }
}

/** A gate at which an activity waits until the test opens it; it notices when its activity is cancelled. */
export class Gate {
  private open: () => void = () => undefined;
  private arrive: () => void = () => undefined;
  private readonly opened = new Promise<void>((resolve) => (this.open = resolve));
  /** Resolves when an activity stands at the gate. */
  readonly reached = new Promise<void>((resolve) => (this.arrive = resolve));

  readonly wait = async (): Promise<void> => {
    this.arrive();
    const context = Context.current();
    const beat = setInterval(() => {
      context.heartbeat();
    }, 200);
    try {
      await Promise.race([this.opened, context.cancelled]);
    } finally {
      clearInterval(beat);
    }
  };

  release(): void {
    this.open();
  }
}

function describeCall(name: string, input: unknown): string {
  const { revision, workload: applied } = input as { revision?: string; workload?: Workload };
  const target = revision ?? applied?.revision;
  return target === undefined ? name : `${name} ${typeof target === 'string' ? target : ''}`;
}

function workload(object: InferenceService, generation: number): Workload {
  const { name, namespace = 'default' } = object.metadata;
  return {
    namespace,
    name,
    component: 'predictor',
    revision: revisionName(name, 'predictor', generation),
    runtime: 'muster-onnx',
    modelName: name,
    protocols: ['v1', 'v2'],
    replicas: object.spec.predictor.minReplicas ?? 1,
    environment: { kind: 'python', requirements: ['numpy==1.0'] },
    command: ['node'],
    args: [],
    env: [],
    models: [{ uri: object.spec.predictor.model?.storageUri ?? '', path: '' }],
    readiness: { path: '/v2/health/ready', periodMs: 1000, timeoutMs: 1000, failureThreshold: 3 },
    startupTimeoutMs: 60_000,
    terminationGraceMs: 1_000,
  };
}
