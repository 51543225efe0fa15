import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { ApplicationFailure } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { ControlApi } from '../../../activities/control/api.ts';
import { controlActivities } from '../../../activities/control/control-activities.ts';
import type { InferenceService } from '../../../domain/inference-service/inference-service.schema.ts';
import type { ControlActivities } from '../../../domain/inference-service/messages.ts';
import { FakeApi } from './fake-api.ts';

const logger = new DefaultLogger('ERROR');
const nowMs = Date.parse('2026-01-01T00:00:10Z');
const runtime = {
  apiVersion: 'serving.kserve.io/v1alpha1',
  kind: 'ClusterServingRuntime',
  metadata: { name: 'muster-onnx', annotations: { 'muster.dev/local-environment': 'node' } },
  spec: {
    supportedModelFormats: [{ name: 'onnx', version: '1', autoSelect: true }],
    protocolVersions: ['v1', 'v2'],
    containers: [{ name: 'kserve-container', command: ['node'], args: ['server.ts', '--port', '{{.Port}}'] }],
  },
};
const node = (name: string, at: string, replicas: unknown[] = []) => ({
  node: name,
  agentAddress: 'http://127.0.0.1:1',
  at,
  notices: [],
  replicas,
  transfers: [],
});

function object(format = 'onnx'): InferenceService {
  return {
    apiVersion: 'serving.kserve.io/v1beta1',
    kind: 'InferenceService',
    metadata: { name: 'iris', namespace: 'shop', generation: 2 },
    spec: { predictor: { model: { modelFormat: { name: format }, storageUri: 'file:///models/iris' } } },
  };
}

describe('control activities', () => {
  let api: FakeApi;
  let client: ControlApi;
  let activities: ControlActivities;

  /** Runs an activity in an activity's context; its failure is returned, not thrown. */
  const run = <T>(work: () => Promise<T>): Promise<T> =>
    new MockActivityEnvironment(undefined, { logger }).run(work);
  const failureOf = async (work: () => Promise<unknown>): Promise<ApplicationFailure> => {
    const error = await run(work).then(
      () => null,
      (failure: unknown) => failure,
    );
    expect(error).toBeInstanceOf(ApplicationFailure);
    return error as ApplicationFailure;
  };

  beforeEach(async () => {
    api = await FakeApi.start();
    client = new ControlApi({ url: api.url, token: () => Promise.resolve(api.token), timeoutMs: 2_000 });
    activities = controlActivities({
      api: client,
      node: 'local',
      site: { gatewayUrl: 'http://127.0.0.1:8080', domain: 'Example.com' },
      now: () => nowMs,
    });
    api.on('GET /internal/nodes', { nodes: [node('local', '2026-01-01T00:00:05Z')] });
    api.on('GET /internal/runtimes?namespace=shop', {
      servingRuntimes: [],
      clusterServingRuntimes: [runtime],
    });
  });
  afterEach(async () => {
    await client.close();
    await api.close();
  });

  describe('resolveRuntime', () => {
    test('chooses a runtime by the rules, and the node', async () => {
      const resolution = await run(() => activities.resolveRuntime({ object: object(), generation: 2 }));
      expect(resolution).toMatchObject({
        node: 'local',
        nodeIsLive: true,
        runtime: { kind: 'ClusterServingRuntime', name: 'muster-onnx' },
        workload: { revision: 'iris-predictor-00002', models: [{ uri: 'file:///models/iris' }] },
        site: { gatewayUrl: 'http://127.0.0.1:8080' },
      });
    });

    test.each([
      { name: 'its own node where that one lives', nodes: ['a', 'local'], chosen: 'local', live: true },
      { name: 'another one that lives', nodes: ['b', 'a'], chosen: 'a', live: true },
      { name: 'its own where none lives', nodes: [], chosen: 'local', live: false },
    ])('takes $name', async ({ nodes, chosen, live }) => {
      const dead = node('zombie', '2026-01-01T00:00:00Z');
      const reports = nodes.map((name) => node(name, '2026-01-01T00:00:09Z'));
      api.on('GET /internal/nodes', { nodes: [{ ...dead, at: '2025-12-31T00:00:00Z' }, ...reports] });
      const resolution = await run(() => activities.resolveRuntime({ object: object(), generation: 1 }));
      expect(resolution).toMatchObject({ node: chosen, nodeIsLive: live });
    });

    test('fails for good, in KServe’s words, when nothing fits', async () => {
      const failure = await failureOf(() =>
        activities.resolveRuntime({ object: object('caffe'), generation: 1 }),
      );
      expect(failure).toMatchObject({ type: 'no_supporting_runtime', nonRetryable: true });
      expect(failure.details?.[0]).toMatchObject({ reason: 'NoSupportingRuntime' });
    });
  });

  test.each([
    { name: 'is away', disturb: () => api.close(), type: 'control_unavailable' },
    {
      name: 'fails',
      disturb: () => {
        api.on('POST /internal/events', 'oops', 500);
        return Promise.resolve();
      },
      type: 'control_unavailable',
    },
    {
      name: 'answers nonsense',
      disturb: () => {
        api.on('GET /internal/nodes', { nodes: 'none' });
        return Promise.resolve();
      },
      type: 'control_unavailable',
    },
  ])('are tried again when the control API $name', async ({ disturb, type }) => {
    await disturb();
    const event = {
      namespace: 'shop',
      name: 'iris',
      type: 'Normal',
      reason: 'R',
      message: 'm',
      time: '',
    } as const;
    const failure = await failureOf(async () => {
      await activities.recordEvent(event);
      await activities.resolveRuntime({ object: object(), generation: 1 });
    });
    expect(failure).toMatchObject({ type, nonRetryable: false });
  });

  test('ask for the token again when the control API has another', async () => {
    await run(() => activities.withdrawRoutes({ namespace: 'shop', name: 'x' })).catch(() => undefined);
    api.token = 'another';
    api.on('DELETE /internal/routes/shop/iris', { version: 7 });
    await expect(run(() => activities.withdrawRoutes({ namespace: 'shop', name: 'iris' }))).resolves.toEqual({
      version: 7,
    });
  });

  test('publish the object with the addresses that hold now', async () => {
    const status = {
      url: 'http://iris-shop.old',
      address: { url: 'old' },
      components: { predictor: { url: 'old', latestReadyRevision: 'r' }, transformer: {} },
    };
    await run(() => activities.publishObject({ object: { ...object(), status }, phase: 'Ready' }));
    const url = 'http://iris-shop.example.com';
    const address = { url: 'http://127.0.0.1:8080/serving/shop/iris' };
    expect(api.bodies('PUT /internal/inferenceservices/shop/iris')).toEqual([
      {
        phase: 'Ready',
        object: {
          ...object(),
          status: {
            url,
            address,
            components: { predictor: { latestReadyRevision: 'r', url, address }, transformer: {} },
          },
        },
      },
    ]);
  });

  test('take a newer stored generation for success: this status is of the past', async () => {
    api.on('PUT /internal/inferenceservices/shop/iris', { code: 'conflict', detail: 'newer' }, 409);
    await expect(
      run(() => activities.publishObject({ object: object(), phase: 'Ready' })),
    ).resolves.toBeUndefined();
  });

  test('add the host under the domain to routes, and say when the revision has no ready replica', async () => {
    const assignment = {
      namespace: 'shop',
      name: 'iris',
      generation: 1,
      hosts: [],
      models: ['iris'],
      upstreamModel: 'iris',
      protocols: [],
      timeoutMs: null,
      state: 'Loading',
      message: '',
      createdAt: '',
      traffic: [],
    } as const;
    const line = 'PUT /internal/routes/shop/iris';
    api.on(line, { version: 3 });
    const given = { ...assignment, hosts: [], models: ['iris'], protocols: [], traffic: [] };
    await expect(run(() => activities.publishRoutes(given))).resolves.toEqual({ version: 3 });
    expect(api.bodies(line)).toEqual([{ ...assignment, hosts: ['iris-shop.example.com'] }]);
    api.on(line, { code: 'conflict', detail: 'no ready replica' }, 409);
    const failure = await failureOf(() => activities.publishRoutes(given));
    expect(failure).toMatchObject({ type: 'conflict', nonRetryable: true, message: 'no ready replica' });
  });

  const gateway = (name: string, version: number, draining: Record<string, number> = {}) => ({
    gateway: name,
    version,
    draining,
    connectedAt: '2026-01-01T00:00:00Z',
  });

  test('wait until every connected gateway has the routes, or name the late ones', async () => {
    let asked = 0;
    api.onEach('GET /internal/gateways', () => ({
      gateways: [gateway('a', 5), gateway('b', ++asked > 1 ? 5 : 4)],
    }));
    await expect(run(() => activities.awaitGateways({ version: 5, timeoutMs: 5_000 }))).resolves.toEqual({
      late: [],
    });
    api.on('GET /internal/gateways', { gateways: [gateway('a', 5), gateway('b', 4)] });
    await expect(run(() => activities.awaitGateways({ version: 5, timeoutMs: 0 }))).resolves.toEqual({
      late: ['b'],
    });
    api.on('GET /internal/gateways', { gateways: [] });
    await expect(run(() => activities.awaitGateways({ version: 5, timeoutMs: 0 }))).resolves.toEqual({
      late: [],
    });
  });

  test('wait until the requests to a revision have ended, also to the address of a server started again', async () => {
    const key = { namespace: 'shop', name: 'iris', component: 'predictor', revision: 'r-1' } as const;
    const restarted = {
      ...key,
      index: 0,
      address: 'http://new:1',
      state: 'Ready',
      restarts: 1,
      since: '2026-01-01T00:00:00Z',
    };
    api.on('GET /internal/nodes', { nodes: [node('local', '2026-01-01T00:00:05Z', [restarted])] });
    const frames = [
      [gateway('a', 4)], // has not seen the new table yet: its silence means nothing
      [gateway('a', 5, { 'http://new:1': 1 })],
      [gateway('a', 5, { 'http://other:1': 9 })],
    ];
    api.onEach('GET /internal/gateways', () => ({
      gateways: frames.length > 1 ? frames.shift() : frames[0],
    }));
    const input = { addresses: ['http://old:1'], version: 5, revision: key };
    await expect(run(() => activities.awaitDrained({ ...input, timeoutMs: 5_000 }))).resolves.toEqual({
      remaining: 0,
    });
    expect(frames).toHaveLength(1);
    api.on('GET /internal/gateways', {
      gateways: [gateway('a', 5, { 'http://old:1': 2 }), gateway('b', 5, { 'http://old:1': 1 })],
    });
    await expect(run(() => activities.awaitDrained({ ...input, timeoutMs: 0 }))).resolves.toEqual({
      remaining: 3,
    });
  });

  test('stop waiting when they are cancelled', async () => {
    api.on('GET /internal/nodes', { nodes: [] });
    const environment = new MockActivityEnvironment(undefined, { logger });
    const waiting = environment.run(() => activities.awaitNode({ node: 'local' }));
    setTimeout(() => {
      environment.cancel();
    }, 50);
    await expect(waiting).rejects.toThrow();
  });
});
