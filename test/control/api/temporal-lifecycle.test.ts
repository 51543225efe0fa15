import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AddressInfo } from 'node:net';
import type { Lifecycle } from '../../../control/api/lifecycle.ts';
import { temporalLifecycle } from '../../../control/api/temporal-lifecycle.ts';
import { lifecycle as names } from '../../../domain/inference-service/messages.ts';
import { service } from '../../fixtures/control/manifests.ts';
import { temporalPath, temporalTest as test, useStack } from '../../workflows/fakes/stack.ts';
import { World } from '../../workflows/fakes/world.ts';

describe('the control API and the real workflow, over a real server', () => {
  const stack = useStack();
  let lifecycle: Lifecycle;
  beforeAll(() => {
    if (temporalPath === null) return;
    const { address } = stack().env;
    lifecycle = temporalLifecycle({ address, namespace: 'default', answerTimeoutMs: 20_000 });
  });
  afterAll(async () => {
    if (temporalPath !== null) await lifecycle.close();
  });
  const iris = (uri?: string) => service('iris', uri, 'default');

  test('a service is created, found unchanged, changed, stopped, started and removed', async () => {
    expect(await lifecycle.isReachable()).toBe(true);
    await stack().during(new World(), async () => {
      expect(await lifecycle.apply(iris())).toMatchObject({ generation: 1, changed: true });
      expect(await lifecycle.apply(iris())).toMatchObject({ generation: 1, changed: false });
      expect(await lifecycle.apply(iris('file:///models/2'))).toMatchObject({ generation: 2, changed: true });
      const stopped = await lifecycle.setStopped('default', 'iris', true);
      expect(stopped.object.metadata.annotations).toMatchObject({ 'serving.kserve.io/stop': 'true' });
      await lifecycle.setStopped('default', 'iris', false);
      expect(await lifecycle.sleep('default', 'iris')).toMatchObject({ changed: true });
      await lifecycle.wake('default', 'iris');
      await lifecycle.wake('default', 'iris');
      await lifecycle.remove('default', 'iris');
      await stack().env.client.workflow.getHandle(names.workflowId('default', 'iris')).result();
    });
  }, 60_000);

  test('what the workflow refuses is refused in its words, and a service that is not there is not found', async () => {
    await stack().during(new World(), async () => {
      const bad = service('bad', 'file:///m', 'default');
      const predictor = { ...bad.spec.predictor, minReplicas: -1 };
      await expect(lifecycle.apply({ ...bad, spec: { predictor } })).rejects.toMatchObject({
        code: 'invalid_manifest',
        message: expect.stringMatching(/'MinReplicas' cannot be less than 0/) as unknown,
      });
      await expect(lifecycle.remove('default', 'absent')).rejects.toMatchObject({ code: 'not_found' });
      await expect(lifecycle.setStopped('default', 'absent', true)).rejects.toMatchObject({
        code: 'not_found',
      });
    });
  }, 60_000);

  test('a namespace that the server does not have is named, and no service counts as gone for it', async () => {
    const elsewhere = temporalLifecycle({
      address: stack().env.address,
      namespace: 'not-made',
      pingTimeoutMs: 500,
    });
    for (const change of [() => elsewhere.apply(iris()), () => elsewhere.remove('default', 'iris')]) {
      await expect(change()).rejects.toMatchObject({
        code: 'temporal_unavailable',
        message: expect.stringMatching(/has no namespace not-made.*TEMPORAL_NAMESPACE/) as unknown,
      });
    }
    await elsewhere.close();
  });

  test('a worker that does not answer is told from a server that is away', async () => {
    const impatient = temporalLifecycle({
      address: stack().env.address,
      namespace: 'default',
      answerTimeoutMs: 500,
      taskQueue: 'nobody-polls-this',
    });
    await expect(impatient.apply(service('lonely', 'file:///m', 'default'))).rejects.toMatchObject({
      code: 'timeout',
    });
    await impatient.close();
    await stack().env.client.workflow.getHandle(names.workflowId('default', 'lonely')).terminate();
  });
});

describe('with Temporal away', () => {
  test('changes are refused plainly, again and again, and nothing is found reachable', async () => {
    const away = temporalLifecycle({
      address: `127.0.0.1:${await unusedPort()}`,
      namespace: 'default',
      pingTimeoutMs: 300,
    });
    for (let attempt = 0; attempt < 2; attempt++) {
      await expect(away.apply(service('iris'))).rejects.toMatchObject({
        code: 'temporal_unavailable',
        message: expect.stringMatching(/goes on serving/) as unknown,
      });
    }
    expect(await away.isReachable()).toBe(false);
    // Nothing may go on trying behind our back: it would throw in a timer once the connection is closed.
    await away.close();
    await sleep(1_500);
  });
});

async function unusedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
