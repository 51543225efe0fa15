import { CancellationScope } from '@temporalio/workflow';
import type { Resolution, RevisionRecord } from '../../domain/inference-service/messages.ts';
import type { InferenceService } from '../../domain/inference-service/inference-service.schema.ts';
import { revisionName } from '../../domain/workload/workload.ts';
import { failureInfo } from '../../domain/inference-service/reconcile-failure.ts';
import { assignmentFor } from '../../domain/inference-service/reconcile-routes.ts';
import { isSuperseded } from '../../domain/inference-service/reconcile.ts';
import { modelUriOf } from '../../domain/workload/model-uri.ts';
import type { Entity } from './entity.ts';
import { timestamp } from './entity.ts';
import { control, waiting } from './activities.ts';
import { prepare, ready, start, tearDown } from './bring-up.ts';
import type { Up } from './bring-up.ts';
import { stepFailure } from './failure.ts';
import { unless } from './interrupt.ts';
import type { Retirement } from './retirement.ts';
import { publishIdle, reachGateways } from './routes.ts';

/** How often a revision that lost its servers between being ready and being routed is waited for again. */
const maxRouteTries = 3;
const dayMs = 24 * 60 * 60 * 1000;

/**
 * One attempt to bring the current generation into service. The revision before it serves until the new one has
 * all traffic. An attempt that fails, or that a newer wish overtakes, removes what it started and touches nothing
 * else.
 */
export async function deploy(entity: Entity, retirement: Retirement): Promise<void> {
  const attempt = new Attempt(entity);
  try {
    const done = await unless(
      () => isSuperseded(entity.state, attempt.generation),
      () => attempt.comeUp(),
    );
    if (done) await attempt.takeOver(retirement);
    else await attempt.giveUp();
  } catch (error) {
    await attempt.fail(error);
  } finally {
    entity.progress(null);
  }
}

class Attempt {
  readonly generation: number;
  private readonly entity: Entity;
  private readonly object: InferenceService;
  private readonly revision: string;
  private readonly startedAt = timestamp();
  /** Run last first when the attempt ends without success; each is pushed before the step that it undoes. */
  private readonly compensations: (() => Promise<void>)[] = [];
  private resolution: Resolution | null = null;
  private modelDir = '';
  private up: Up = { ready: 0, addresses: [] };
  private version = 0;

  constructor(entity: Entity) {
    const { status: _status, ...object } = entity.object;
    this.entity = entity;
    this.object = object;
    this.generation = entity.state.generation;
    this.revision = revisionName(object.metadata.name, 'predictor', this.generation);
    entity.state.retryWanted = false;
    entity.state.failure = null;
    entity.state.failedGeneration = null;
    this.step('Resolving');
  }

  /** All steps up to the moment when gateways are told; cancelled when the attempt becomes pointless. */
  async comeUp(): Promise<void> {
    const { entity, object, generation } = this;
    const name = object.metadata.name;
    if (entity.state.serving === null) {
      await publishIdle(entity, 'Loading', `${name} is being deployed and not ready yet`);
    }
    const resolution = await control(`Choose a runtime and a node for ${name}`).resolveRuntime({
      object,
      generation,
    });
    this.resolution = resolution;
    const { node, workload, runtime } = resolution;
    entity.state.withoutEffect = resolution.withoutEffect;
    if (resolution.site) entity.state.site = resolution.site;
    entity.event('Normal', 'RuntimeSelected', `${runtime.kind} ${runtime.name} on node ${node}`);
    this.history('InProgress', '');

    if (resolution.nodeIsLive === false) {
      this.step('Preparing', `waiting for node agent "${node}"`);
      await waiting(`Wait for the agent of node ${node}`, dayMs).awaitNode({ node });
    }
    this.step('Preparing');
    this.modelDir = await prepare(entity, node, workload);

    this.step('Starting');
    this.compensations.push(() => tearDown(node, workload));
    this.up = await start(node, workload, this.modelDir);
    entity.event('Normal', 'RevisionReady', `${this.up.ready} of ${this.revision} ready`);

    this.step('Routing');
    await this.route(resolution);
  }

  /** The new revision has the traffic: it is what serves now, and the one before it may end. */
  async takeOver(retirement: Retirement): Promise<void> {
    const { entity, resolution, generation, startedAt, revision } = this;
    if (resolution === null) throw new TypeError('an attempt cannot take over before it is resolved');
    const { state } = entity;
    const previous = state.serving;
    state.serving = {
      namespace: resolution.workload.namespace,
      name: resolution.workload.name,
      component: resolution.workload.component,
      revision,
      node: resolution.node,
      workload: resolution.workload,
      modelDir: this.modelDir,
      generation,
      startedAt,
      ...this.up,
    };
    state.lost = null;
    state.routed = 'Serving';
    if (previous !== null) state.previousRevision = previous.revision;
    this.step('Routing');
    entity.event('Normal', 'TrafficShifted', `100 % of the traffic goes to ${revision}`);
    await reachGateways(entity, this.version);
    state.observedGeneration = generation;
    entity.event('Normal', 'InferenceServiceReady', `generation ${generation} is served by ${revision}`);
    this.history('Serving', `${this.up.ready} ready`);
    if (previous !== null && previous.revision !== revision)
      retirement.retire(entity, previous, this.version);
  }

  /** Something newer is wanted. */
  async giveUp(): Promise<void> {
    const { state } = this.entity;
    await this.compensate();
    if (state.deleting) this.history('Removed', 'the service was deleted before it was ready');
    else if (state.stopped) this.history('Stopped', 'the service was stopped before it was ready');
    else if (state.asleep) this.history('Stopped', 'the service was put to sleep before it was ready');
    else this.history('Superseded', `generation ${state.generation} came before this one was ready`);
  }

  async fail(error: unknown): Promise<void> {
    const { entity, generation, revision } = this;
    const { state } = entity;
    const info = failureInfo(stepFailure(error), revision, 'predictor', timestamp());
    state.failure = info;
    state.failedGeneration = generation;
    state.observedGeneration = generation;
    entity.progress(null);
    const stays = state.serving ? `; ${state.serving.revision} goes on serving` : '';
    entity.event('Warning', 'RevisionFailed', `${revision}: ${info.reason}: ${info.message}${stays}`);
    if (state.serving === null) {
      entity.event('Warning', 'InferenceServiceNotReady', `${info.reason}: ${info.message}`);
      await publishIdle(entity, 'Failed', `${info.reason}: ${info.message}`);
    }
    await this.compensate();
    this.history('Failed', `${info.reason}: ${info.message}`);
  }

  /**
   * Gives the revision all traffic. The control API refuses while it has no ready replica, which means that its
   * servers went down since they were ready: then they are waited for again, a bounded number of times.
   */
  private async route({ node, workload }: Resolution): Promise<void> {
    const { object, generation, revision } = this;
    const facts = { object, generation, state: 'Serving', message: '', workload, revision } as const;
    for (let tries = 1; ; tries += 1) {
      try {
        // Once asked for, the answer must be known: it decides what serves.
        const { version } = await CancellationScope.nonCancellable(() =>
          control(`Send 100 % of the traffic to ${revision}`).publishRoutes(assignmentFor(facts)),
        );
        this.version = version;
        return;
      } catch (error) {
        if (stepFailure(error).type !== 'conflict' || tries === maxRouteTries) throw error;
        this.up = await ready(node, workload);
      }
    }
  }

  private async compensate(): Promise<void> {
    for (const undo of this.compensations.splice(0).reverse()) await undo();
  }

  private step(step: 'Resolving' | 'Preparing' | 'Starting' | 'Routing', note = ''): void {
    const runtime = this.resolution?.workload.runtime ?? null;
    this.entity.progress({ generation: this.generation, step, revision: this.revision, runtime }, note);
  }

  private history(outcome: RevisionRecord['outcome'], message: string): void {
    const { generation, revision, startedAt, resolution } = this;
    this.entity.history({
      generation,
      revision,
      runtime: resolution?.workload.runtime ?? null,
      modelUri: modelUriOf(resolution?.workload),
      startedAt,
      finishedAt: outcome === 'InProgress' ? null : timestamp(),
      outcome,
      message,
    });
  }
}
