import { beforeEach, describe, expect } from '@jest/globals';
import { ApplicationFailure } from '@temporalio/common';
import { manifest, temporalTest as test, useStack } from './fakes/stack.ts';
import { Gate, World } from './fakes/world.ts';

const crash = (message: string) =>
  ApplicationFailure.nonRetryable(message, 'model_load_failed', {
    reason: 'ModelLoadFailed',
    message,
    exitCode: 1,
    time: '2026-01-01T00:00:00Z',
  });

describe('an InferenceService', () => {
  const stack = useStack();
  let world: World;
  beforeEach(() => {
    world = new World();
  });

  test('comes up, takes a new model without a gap, and is removed without a trace', async () => {
    const iris = stack().service('iris');
    await stack().during(world, async () => {
      expect(await iris.apply(manifest('iris'))).toMatchObject({ generation: 1, changed: true });
      const ready = await iris.untilReady(1);
      expect(ready.status?.components?.['predictor']?.latestReadyRevision).toBe('iris-predictor-00001');
      await iris.record('deploy');

      expect(await iris.apply(manifest('iris'))).toMatchObject({ generation: 1, changed: false });
      const second = manifest('iris', 'file:///models/iris-2');
      expect(await iris.apply(second)).toMatchObject({ generation: 2, changed: true });
      await iris.untilReady(2);
      await iris.record('update');

      await iris.remove();
      await iris.handle.result();
      await iris.record('delete');
    });

    expect(world.broken).toEqual([]);
    expect(world.running.size).toBe(0);
    expect(world.routes.size).toBe(0);
    expect(world.forgotten).toEqual(['default/iris']);
    expect(world.routeStates).toEqual(['Loading', 'Serving', 'Serving']);
    expect(world.outcomes).toEqual([
      'iris-predictor-00001 InProgress',
      'iris-predictor-00001 Serving',
      'iris-predictor-00002 InProgress',
      'iris-predictor-00002 Serving',
      'iris-predictor-00001 Replaced',
      'iris-predictor-00002 Removed',
    ]);
    expect(world.phases).toEqual(
      expect.arrayContaining(['Resolving', 'Preparing', 'Starting', 'Routing', 'Ready', 'Deleting']),
    );
  });

  test('goes on serving the old model when the new one does not load, and tries it again when it is applied again', async () => {
    const iris = stack().service('bad-update');
    const update = manifest('bad-update', 'file:///models/broken');
    await stack().during(world, async () => {
      await iris.apply(manifest('bad-update'));
      await iris.untilReady(1);
      world.on('awaitRevision', () => {
        throw crash('unexpected end of file');
      });
      await iris.apply(update);
      const failed = await iris.untilFailed();
      await iris.settled();

      expect(failed.status?.modelStatus).toMatchObject({
        transitionStatus: 'BlockedByFailedLoad',
        states: { activeModelState: 'Loaded', targetModelState: 'FailedToLoad' },
        lastFailureInfo: { reason: 'ModelLoadFailed', message: 'unexpected end of file', exitCode: 1 },
      });
      expect([...world.running.keys()]).toEqual(['bad-update-predictor-00001']);
      expect(world.routes.get('default/bad-update')?.traffic).toEqual([
        { revision: 'bad-update-predictor-00001', percent: 100 },
      ]);
      expect(world.outcomes).toContain('bad-update-predictor-00002 Failed');
      expect(world.eventReasons()).toContain('RevisionFailed');
      await iris.record('failed-load');

      world.calm('awaitRevision');
      expect(await iris.apply(update)).toMatchObject({ generation: 2, changed: true });
      await iris.untilReady(2);
      await iris.settled();
      await iris.record('failed-load-tried-again');
    });
    expect([...world.running.keys()]).toEqual(['bad-update-predictor-00002']);
    expect(world.broken).toEqual([]);
  });

  test('says in its routes why it never came up, and comes up when the observer says that runtimes changed', async () => {
    const iris = stack().service('no-runtime');
    world.on('resolveRuntime', () => {
      throw ApplicationFailure.nonRetryable('no runtime serves sklearn', 'no_supporting_runtime', {
        reason: 'NoSupportingRuntime',
        message: 'no runtime serves sklearn',
      });
    });
    await stack().during(world, async () => {
      await iris.apply(manifest('no-runtime'));
      const failed = await iris.untilFailed();
      await iris.settled();
      expect(failed.status?.modelStatus).toMatchObject({
        transitionStatus: 'InvalidSpec',
        lastFailureInfo: { reason: 'NoSupportingRuntime' },
      });
      expect(world.routes.get('default/no-runtime')).toMatchObject({
        state: 'Failed',
        message: 'NoSupportingRuntime: no runtime serves sklearn',
        traffic: [],
      });
      world.calm('resolveRuntime');
      await iris.retry();
      await iris.untilReady(1);
      await iris.settled();
      await iris.record('retry');
    });
    expect(world.routes.get('default/no-runtime')?.state).toBe('Serving');
  });

  test('is started again, under the same generation, when its node lost it', async () => {
    const iris = stack().service('lost');
    await stack().during(world, async () => {
      await iris.apply(manifest('lost'));
      await iris.untilReady(1);
      await iris.settled();
      const revision = 'lost-predictor-00001';
      world.running.clear();
      const applied = world.calls.filter((call) => call.startsWith('applyRevision')).length;
      await iris.observed({ revision, known: false, ready: 0, total: 0 });
      await iris.until(
        ({ status }) => status?.modelStatus?.copies?.totalCopies === 1 && world.running.size === 1,
      );
      await iris.settled();
      expect(world.calls.filter((call) => call.startsWith('applyRevision'))).toHaveLength(applied + 1);
      expect((await iris.get()).metadata.generation).toBe(1);
      await iris.record('restore');
    });
    expect(world.calls.filter((call) => call.startsWith('resolveRuntime'))).toHaveLength(1);
  });

  test('says when replicas go and come, and why', async () => {
    const iris = stack().service('flaky');
    await stack().during(world, async () => {
      await iris.apply(manifest('flaky'));
      await iris.untilReady(1);
      const revision = 'flaky-predictor-00001';
      const failure = {
        reason: 'RuntimeUnhealthy',
        message: 'killed',
        exitCode: 137,
        time: '2026-01-01T00:00:00Z',
      };
      await iris.observed({ revision, known: true, ready: 0, total: 1, failure });
      const down = await iris.until(({ status }) => status?.modelStatus?.copies?.totalCopies === 0);
      expect(down.status?.modelStatus?.lastFailureInfo).toMatchObject({ message: 'killed', exitCode: 137 });
      await iris.observed({ revision, known: true, ready: 1, total: 1 });
      await iris.untilReady(1);
      await iris.observed({ revision: 'flaky-predictor-00099', known: false, ready: 0, total: 0 });
      await iris.settled();
      await iris.record('replicas-observed');
    });
    expect(world.phases.slice(-3)).toEqual(['Ready', 'Degraded', 'Ready']);
    expect(world.eventReasons().slice(-2)).toEqual(['InferenceServiceNotReady', 'InferenceServiceReady']);
  });

  test('is stopped and started without a new generation, and keeps its spec', async () => {
    const iris = stack().service('pause');
    await stack().during(world, async () => {
      await iris.apply(manifest('pause'));
      await iris.untilReady(1);
      expect(await iris.setStopped(true)).toMatchObject({ generation: 1, changed: true });
      expect(await iris.setStopped(true)).toMatchObject({ changed: false });
      await iris.until(() => world.running.size === 0 && world.phases.at(-1) === 'Stopped');
      expect(world.routes.get('default/pause')).toMatchObject({ state: 'Stopped', traffic: [] });

      expect(await iris.setStopped(false)).toMatchObject({ generation: 1, changed: true });
      const ready = await iris.untilReady(1);
      expect(ready.spec).toEqual(manifest('pause').spec);
      expect(ready.metadata.annotations).toBeUndefined();

      await iris.apply(manifest('pause', 'file:///models/iris', { 'serving.kserve.io/stop': 'TRUE' }));
      await iris.until(() => world.phases.at(-1) === 'Stopped');
      await iris.settled();
      await iris.record('stop-start');
    });
    expect(world.broken).toEqual([]);
    expect(world.running.size).toBe(0);
    expect(world.outcomes.filter((line) => line.endsWith('Stopped'))).toHaveLength(2);
  });

  test('skips the generations that a newer one overtook, and leaves nothing of them', async () => {
    const iris = stack().service('hasty');
    const gate = new Gate();
    await stack().during(world, async () => {
      await iris.apply(manifest('hasty'));
      await iris.untilReady(1);
      world.on('awaitRevision', ({ revision }) => (revision.endsWith('00002') ? gate.wait() : undefined));
      await iris.apply(manifest('hasty', 'file:///models/2'));
      await gate.reached;
      await Promise.all([
        iris.apply(manifest('hasty', 'file:///models/3')),
        iris.apply(manifest('hasty', 'file:///models/4')),
      ]);
      await iris.untilReady(4);
      await iris.settled();
      await iris.record('superseded');
    });
    gate.release();
    expect([...world.running.keys()]).toEqual(['hasty-predictor-00004']);
    expect(world.outcomes).toContain('hasty-predictor-00002 Superseded');
    expect(world.broken).toEqual([]);
    expect(world.calls.filter((call) => call.includes('00003'))).toEqual([]);
  });

  test('is removed in the middle of an attempt, with all that was started', async () => {
    const iris = stack().service('gone');
    const gate = new Gate();
    world.on('awaitRevision', () => gate.wait());
    await stack().during(world, async () => {
      await iris.apply(manifest('gone'));
      await gate.reached;
      expect(world.running.size).toBe(1);
      await iris.remove();
      await expect(iris.apply(manifest('gone', 'file:///models/2'))).rejects.toMatchObject({
        cause: { type: 'conflict' },
      });
      await iris.handle.result();
      await iris.record('delete-mid-attempt');
    });
    gate.release();
    expect(world.running.size).toBe(0);
    expect(world.routes.size).toBe(0);
    expect(world.forgotten).toEqual(['default/gone']);
  });

  test('refuses what is wrong without a trace in its history', async () => {
    const iris = stack().service('strict');
    await stack().during(world, async () => {
      await iris.apply(manifest('strict'));
      await iris.untilReady(1);
      await iris.settled();
      const before = (await iris.handle.describe()).historyLength;
      const other = manifest('other');
      await expect(iris.apply(other)).rejects.toMatchObject({ cause: { type: 'invalid_manifest' } });
      expect((await iris.handle.describe()).historyLength).toBe(before);
      expect((await iris.get()).metadata.generation).toBe(1);
    });
  });

  test('leaves a long history behind without forgetting anything', async () => {
    const iris = stack().service('old');
    await stack().during(world, async () => {
      await iris.apply(manifest('old'), { continueAfterEvents: 40 });
      const first = (await iris.handle.describe()).runId;
      await iris.untilReady(1);
      await iris.untilRunOtherThan(first);
      await iris.record('continue-as-new', first);
      expect(await iris.apply(manifest('old'))).toMatchObject({ generation: 1, changed: false });
      expect(await iris.apply(manifest('old', 'file:///models/2'))).toMatchObject({ generation: 2 });
      const second = (await iris.handle.describe()).runId;
      const ready = await iris.untilReady(2);
      expect(ready.status?.components?.['predictor']?.previousRolledoutRevision).toBe('old-predictor-00001');
      await iris.untilRunOtherThan(second);
      await iris.record('continued', second);
      await iris.remove();
      await iris.handle.result();
    });
    expect(world.broken).toEqual([]);
    expect(world.running.size).toBe(0);
  });

  test('comes up although the control API fails each kind of call at first', async () => {
    const iris = stack().service('outage');
    const away = [
      'resolveRuntime',
      'publishObject',
      'publishRoutes',
      'recordEvent',
      'recordRevision',
    ] as const;
    for (const name of away) {
      let calls = 0;
      world.on(name, () => {
        calls += 1;
        if (calls === 1) throw ApplicationFailure.retryable('no answer', 'control_unavailable');
      });
    }
    await stack().during(world, async () => {
      await iris.apply(manifest('outage'));
      await iris.untilReady(1);
      await iris.settled();
      await iris.record('control-outage');
    });
    expect(world.published.at(-1)?.status?.modelStatus?.transitionStatus).toBe('UpToDate');
  });

  test('waits for its servers again when they went down before they got traffic', async () => {
    const iris = stack().service('unlucky');
    let refusals = 0;
    world.on('publishRoutes', ({ state }) => {
      if (state !== 'Serving' || refusals > 0) return;
      refusals += 1;
      throw ApplicationFailure.nonRetryable('no ready replica', 'conflict');
    });
    await stack().during(world, async () => {
      await iris.apply(manifest('unlucky'));
      await iris.untilReady(1);
      await iris.settled();
    });
    expect(world.calls.filter((call) => call.startsWith('awaitRevision'))).toHaveLength(2);
  });

  test('is not ended by a cancel request, which would leave servers behind', async () => {
    const iris = stack().service('stubborn');
    await stack().during(world, async () => {
      await iris.apply(manifest('stubborn'));
      await iris.untilReady(1);
      await iris.handle.cancel();
      await iris.apply(manifest('stubborn', 'file:///models/2'));
      await iris.untilReady(2);
      await iris.settled();
      await iris.record('cancel-request');
    });
  });

  test('tells a person in the Temporal UI what it is and does', async () => {
    const iris = stack().service('told');
    await stack().during(world, async () => {
      await iris.apply(manifest('told'));
      await iris.untilReady(1);
      await iris.settled();
      const { typedSearchAttributes } = await iris.handle.describe();
      const seen = Object.fromEntries(
        typedSearchAttributes.getAll().map(({ key, value }) => [key.name, value]),
      );
      expect(seen).toMatchObject({
        MusterPhase: 'Ready',
        MusterNamespace: 'default',
        MusterRuntime: 'muster-onnx',
        MusterModel: 'told',
        MusterGeneration: 1,
      });
      expect(await iris.details()).toContain('told-predictor-00001');
      expect(await iris.summaries()).toEqual(
        expect.arrayContaining([
          'Download model for told-predictor-00001 from file:///models/iris',
          'Send 100 % of the traffic to told-predictor-00001',
        ]),
      );
    });
  });

  test('waits for the agent of its node, and says so', async () => {
    const iris = stack().service('patient');
    const gate = new Gate();
    world.nodeIsLive = false;
    world.on('awaitNode', () => gate.wait());
    await stack().during(world, async () => {
      await iris.apply(manifest('patient'));
      await gate.reached;
      expect(await iris.details()).toContain('waiting for node agent "local"');
      gate.release();
      await iris.untilReady(1);
      await iris.settled();
    });
  });

  test('brings nothing to life when its first manifest is refused', async () => {
    const iris = stack().service('refused');
    await stack().during(world, async () => {
      await expect(iris.apply(manifest('other'))).rejects.toMatchObject({
        cause: { type: 'invalid_manifest' },
      });
      expect(world.calls).toEqual([]);
      await iris.handle.terminate();
    });
  });
});
