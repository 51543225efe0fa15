import { beforeEach, describe, expect } from '@jest/globals';
import { createHash } from 'node:crypto';
import type { WorkflowBundle } from '../../workers/bundle.ts';
import { manifest, temporalTest as test, useStack } from './fakes/stack.ts';
import { Gate, World } from './fakes/world.ts';

describe('entities outlive the worker that runs them', () => {
  const stack = useStack();
  let world: World;
  beforeEach(() => {
    world = new World();
  });

  test('a service of an old build goes on, updates and ends under a new one', async () => {
    const iris = stack().service('upgraded');
    const newer = anotherBuild(stack().bundle);
    const agent = await stack().agentWorker(world);
    await agent.runUntil(async () => {
      const old = await stack().controlWorker(world);
      await old.runUntil(async () => {
        await iris.apply(manifest('upgraded'));
        await iris.untilReady(1);
        await iris.settled();
      });
      expect(await iris.buildId()).toBe(stack().bundle.buildId);

      const young = await stack().controlWorker(world, newer);
      await young.runUntil(async () => {
        expect(await iris.apply(manifest('upgraded', 'file:///models/2'))).toMatchObject({ generation: 2 });
        await iris.untilReady(2);
        expect(await iris.buildId()).toBe(newer.buildId);
        await iris.remove();
        await iris.handle.result();
      });
    });
    expect(world.broken).toEqual([]);
    expect(world.running.size).toBe(0);
  });

  test('an attempt under way when the worker goes ends as if nothing had happened, on the next build', async () => {
    const iris = stack().service('interrupted');
    const agent = await stack().agentWorker(world);
    const gate = new Gate();
    await agent.runUntil(async () => {
      const old = await stack().controlWorker(world);
      await old.runUntil(async () => {
        world.on('awaitRevision', () => gate.wait());
        await iris.apply(manifest('interrupted'));
        await gate.reached;
      });
      gate.release();
      world.calm('awaitRevision');
      const young = await stack().controlWorker(world, anotherBuild(stack().bundle));
      await young.runUntil(async () => {
        await iris.untilReady(1);
        await iris.settled();
      });
    });
    expect(world.calls.filter((call) => call.startsWith('applyRevision'))).toHaveLength(1);
    expect(world.outcomes).toEqual([
      'interrupted-predictor-00001 InProgress',
      'interrupted-predictor-00001 Serving',
    ]);
    expect(world.eventReasons().filter((reason) => reason === 'RevisionReady')).toHaveLength(1);
  });
});

/** The same workflows in other bytes, which is what a build with a change elsewhere looks like. */
function anotherBuild({ code }: WorkflowBundle): WorkflowBundle {
  const other = `;${code}`;
  return { code: other, buildId: createHash('sha256').update(other).digest('hex').slice(0, 12) };
}
