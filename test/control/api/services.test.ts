import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { MusterError } from '../../../domain/errors.ts';
import type { ApiHarness } from '../../fixtures/control/api-harness.ts';
import { startApi } from '../../fixtures/control/api-harness.ts';
import { clusterRuntime, service } from '../../fixtures/control/manifests.ts';

const services = '/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices';
const runtimes = '/apis/serving.kserve.io/v1alpha1/clusterservingruntimes';

describe('inferenceservices', () => {
  let api: ApiHarness;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api.close());
  beforeEach(() => {
    api.lifecycle.failure = null;
    api.lifecycle.calls.length = 0;
  });

  test('are created, told unchanged, configured, listed and read', async () => {
    const created = await api.call('PUT', `${services}/iris`, service('iris'));
    expect(created.status).toBe(201);
    expect(created.headers.get('x-muster-outcome')).toBe('created');
    expect(created.body).toMatchObject({ metadata: { name: 'iris', namespace: 'default', generation: 1 } });
    const same = await api.call('PUT', `${services}/iris`, service('iris'));
    expect(same.headers.get('x-muster-outcome')).toBe('unchanged');
    const other = await api.call('PUT', `${services}/iris`, service('iris', 'file:///models/other'));
    expect(other.status).toBe(200);
    expect(other.headers.get('x-muster-outcome')).toBe('configured');
    expect((await api.call('GET', `${services}/iris`)).body).toMatchObject({
      metadata: { generation: 2 },
      spec: { predictor: { model: { storageUri: 'file:///models/other' } } },
    });
    const list = await api.call('GET', services);
    expect(list.body).toMatchObject({
      kind: 'InferenceServiceList',
      items: [{ metadata: { name: 'iris' } }],
    });
    const all = await api.call('GET', '/apis/serving.kserve.io/v1beta1/inferenceservices');
    expect((all.body as { items: unknown[] }).items).toHaveLength(1);
  });

  test("take KServe's defaults: a legacy framework becomes a model", async () => {
    const legacy = {
      ...service('legacy'),
      spec: { predictor: { onnx: { storageUri: 'file:///models/iris' } } },
    };
    const answer = await api.call('PUT', `${services}/legacy`, legacy);
    expect(answer.body).toMatchObject({
      spec: { predictor: { model: { modelFormat: { name: 'onnx' }, protocolVersion: 'v2' } } },
    });
  });

  test.each([
    {
      name: 'a name that KServe refuses',
      path: `${services}/1abc`,
      object: service('1abc'),
      says: 'the InferenceService "1abc" is invalid: a InferenceService name must consist of lower case alphanumeric characters',
    },
    {
      name: 'more replicas at least than at most',
      path: `${services}/bad`,
      object: {
        ...service('bad'),
        spec: { predictor: { ...service('bad').spec.predictor, minReplicas: 3, maxReplicas: 1 } },
      },
      says: "'MinReplicas' cannot be greater than MaxReplicas",
    },
    {
      name: 'no predictor implementation',
      path: `${services}/bad`,
      object: { ...service('bad'), spec: { predictor: {} } },
      says: 'must be specified in PredictorSpec',
    },
  ])("refuse $name in KServe's words, and nothing is changed", async ({ path, object, says }) => {
    const before = await api.call('GET', services);
    const answer = await api.call('PUT', path, object);
    expect(answer.status).toBe(422);
    expect(answer.headers.get('content-type')).toContain('application/problem+json');
    expect(answer.body).toMatchObject({ code: 'invalid_manifest', status: 422 });
    expect((answer.body as { detail: string }).detail).toContain(says);
    expect(api.lifecycle.calls).toEqual([]);
    expect((await api.call('GET', services)).body).toEqual(before.body);
  });

  test('name an unknown field by its path, with the nearest that exists', async () => {
    const object = service('typo') as unknown as { spec: { predictor: Record<string, unknown> } };
    object.spec.predictor['minReplica'] = 2;
    const answer = await api.call('PUT', `${services}/typo`, object);
    expect(answer.status).toBe(422);
    const [error] = (answer.body as { errors: { path: string; message: string }[] }).errors;
    expect(error?.path).toBe('spec.predictor.minReplica');
    expect(error?.message).toContain('minReplicas');
  });

  test("refuse a body whose name is not the path's, and one that is no JSON", async () => {
    expect((await api.call('PUT', `${services}/one`, service('two'))).status).toBe(422);
    const answer = await fetch(`${api.url}${services}/one`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${api.token}`, 'content-type': 'application/json' },
      body: '{"kind":',
    });
    expect(answer.status).toBe(400);
    expect(answer.headers.get('content-type')).toContain('application/problem+json');
  });

  test("are stopped and started, and say so in KServe's annotation", async () => {
    await api.call('PUT', `${services}/pausing`, service('pausing'));
    const stopped = await api.call('POST', `${services}/pausing/stop`);
    expect(stopped.body).toMatchObject({ metadata: { annotations: { 'serving.kserve.io/stop': 'true' } } });
    expect((await api.call('POST', `${services}/pausing/start`)).status).toBe(200);
    expect((await api.call('POST', `${services}/nobody/stop`)).status).toBe(404);
    expect((await api.call('POST', `${services}/pausing/sleep`)).status).toBe(200);
    expect((await api.call('POST', `${services}/nobody/sleep`)).status).toBe(404);
  });

  test('are deleted, and 404 is the answer for what is not there', async () => {
    await api.call('PUT', `${services}/short`, service('short'));
    expect((await api.call('DELETE', `${services}/short`)).status).toBe(202);
    expect(api.lifecycle.calls).toContain('remove default/short');
    expect((await api.call('DELETE', `${services}/nobody`)).status).toBe(404);
    const missing = await api.call('GET', `${services}/nobody`);
    expect(missing.status).toBe(404);
    expect(missing.body).toMatchObject({ code: 'not_found' });
  });

  test('being deleted take no change until they are gone', async () => {
    await api.call('PUT', `${services}/going`, service('going'));
    expect((await api.call('DELETE', `${services}/going`)).body).toMatchObject({
      metadata: { deletionTimestamp: expect.any(String) as unknown },
    });
    expect((await api.call('PUT', `${services}/going`, service('going'))).status).toBe(409);
    await api.internal('DELETE', '/internal/inferenceservices/default/going');
    expect((await api.call('PUT', `${services}/going`, service('going'))).status).toBe(201);
  });

  test('whose workflow was lost with the data of Temporal are deleted all the same', async () => {
    await api.call('PUT', `${services}/orphan`, service('orphan'));
    api.lifecycle.objects.clear();
    expect((await api.call('DELETE', `${services}/orphan`)).status).toBe(202);
    expect((await api.call('GET', `${services}/orphan`)).status).toBe(404);
  });

  test('are read as ever while Temporal is away, and changes are refused plainly', async () => {
    await api.call('PUT', `${services}/steady`, service('steady'));
    api.lifecycle.failure = new MusterError(
      'temporal_unavailable',
      'Temporal does not answer at 127.0.0.1:7233.',
    );
    const refused = await api.call('PUT', `${services}/steady`, service('steady', 'file:///models/next'));
    expect(refused.status).toBe(503);
    expect(refused.body).toMatchObject({ code: 'temporal_unavailable' });
    const read = await api.call('GET', `${services}/steady`);
    expect(read.body).toMatchObject({
      spec: { predictor: { model: { storageUri: 'file:///models/iris' } } },
    });
    expect((await api.call('GET', '/apis/muster.dev/v1alpha1/status')).body).toMatchObject({
      temporal: { reachable: false },
    });
  });

  test('a conflict with the workflow is a 409', async () => {
    api.lifecycle.failure = new MusterError('conflict', 'The service is being deleted.');
    expect((await api.call('PUT', `${services}/iris`, service('iris'))).status).toBe(409);
  });

  test('keep their events, equal ones counted, and their history, newest first', async () => {
    const event = {
      namespace: 'default',
      name: 'iris',
      type: 'Normal',
      reason: 'RevisionReady',
      message: 'iris-predictor-00001 is ready',
      time: '2026-01-01T00:00:00Z',
    };
    await api.internal('POST', '/internal/events', event);
    await api.internal('POST', '/internal/events', { ...event, time: '2026-01-01T00:00:05Z' });
    const { body } = await api.call('GET', `${services}/iris/events`);
    expect((body as { items: unknown[] }).items).toEqual([
      expect.objectContaining({ reason: 'RevisionReady', count: 2 }),
    ]);
    for (const generation of [1, 2]) {
      await api.internal('PUT', `/internal/revisions/default/iris/iris-predictor-0000${generation}`, {
        namespace: 'default',
        name: 'iris',
        generation,
        revision: `iris-predictor-0000${generation}`,
        runtime: 'muster-onnx',
        modelUri: 'file:///models/iris',
        startedAt: '2026-01-01T00:00:00Z',
        finishedAt: null,
        outcome: 'InProgress',
        message: '',
      });
    }
    const history = await api.call('GET', `${services}/iris/history`);
    expect((history.body as { items: { generation: number }[] }).items.map((r) => r.generation)).toEqual([
      2, 1,
    ]);
  });

  test('a plan tells what would happen, and changes nothing', async () => {
    await api.call('PUT', `${runtimes}/muster-test`, {
      ...clusterRuntime('muster-test', 'onnx', 2),
      metadata: { name: 'muster-test', annotations: { 'muster.dev/local-environment': 'node' } },
    });
    const plan = await api.call('POST', '/apis/muster.dev/v1alpha1/plan', service('planned'));
    expect(plan.body).toMatchObject({
      action: 'Create',
      runtime: expect.objectContaining({ name: 'muster-test' }) as unknown,
    });
    expect((await api.call('GET', `${services}/planned`)).status).toBe(404);
  });
});
