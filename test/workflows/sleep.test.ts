import { beforeEach, describe, expect } from '@jest/globals';
import { manifest, temporalTest as test, useStack } from './fakes/stack.ts';
import { World } from './fakes/world.ts';

describe('an InferenceService that sleeps', () => {
  const stack = useStack();
  let world: World;
  beforeEach(() => {
    world = new World();
  });

  test('runs nothing, wakes as it was, and a stop counts for more than sleep', async () => {
    const iris = stack().service('sleepy');
    await stack().during(world, async () => {
      await iris.apply(manifest('sleepy'));
      await iris.untilReady(1);
      await iris.activate(); // awake already
      expect(await iris.sleep()).toMatchObject({ generation: 1, changed: true });
      expect(await iris.sleep()).toMatchObject({ changed: false });
      await iris.until(() => world.running.size === 0 && world.phases.at(-1) === 'Asleep');
      await iris.settled();
      expect(world.routes.get('default/sleepy')).toMatchObject({ state: 'Asleep', traffic: [] });

      await iris.activate();
      await iris.activate();
      const ready = await iris.untilReady(1);
      expect(ready.status?.components?.['predictor']?.latestReadyRevision).toBe('sleepy-predictor-00001');

      await iris.sleep();
      await iris.until(() => world.phases.at(-1) === 'Asleep');
      expect(await iris.setStopped(false)).toMatchObject({ changed: true });
      await iris.untilReady(1);

      await iris.sleep();
      await iris.until(() => world.phases.at(-1) === 'Asleep');
      expect(await iris.apply(manifest('sleepy', 'file:///models/iris-2'))).toMatchObject({ generation: 2 });
      await iris.untilReady(2);

      await iris.sleep();
      await iris.until(() => world.phases.at(-1) === 'Asleep');
      await iris.setStopped(true);
      await iris.until(() => world.phases.at(-1) === 'Stopped');
      await expect(iris.sleep()).rejects.toThrow();
      await iris.activate();
      await iris.settled();
      expect(world.phases.at(-1)).toBe('Stopped');
      await iris.record('sleep-wake');
    });
    expect(world.broken).toEqual([]);
    expect(world.running.size).toBe(0);
    expect(world.eventReasons()).toContain('Activated');
  });
});
