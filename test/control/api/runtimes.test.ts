import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { ApiHarness } from '../../fixtures/control/api-harness.ts';
import { startApi } from '../../fixtures/control/api-harness.ts';
import { clusterRuntime, service } from '../../fixtures/control/manifests.ts';

const cluster = '/apis/serving.kserve.io/v1alpha1/clusterservingruntimes';
const namespaced = '/apis/serving.kserve.io/v1alpha1/namespaces/team/servingruntimes';

describe('serving runtimes', () => {
  let api: ApiHarness;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api.close());

  test('are applied, listed and read, cluster-wide and in a namespace', async () => {
    expect((await api.call('PUT', `${cluster}/one`, clusterRuntime('one', 'alpha'))).status).toBe(201);
    expect((await api.call('PUT', `${cluster}/one`, clusterRuntime('one', 'alpha', 2))).status).toBe(200);
    const own = { ...clusterRuntime('own', 'alpha'), kind: 'ServingRuntime' };
    expect((await api.call('PUT', `${namespaced}/own`, own)).status).toBe(201);
    expect((await api.call('GET', cluster)).body).toMatchObject({
      kind: 'ClusterServingRuntimeList',
      items: [{ metadata: { name: 'one' } }],
    });
    expect((await api.call('GET', `${namespaced}/own`)).body).toMatchObject({
      kind: 'ServingRuntime',
      metadata: { namespace: 'team' },
    });
    expect((await api.internal('GET', '/internal/runtimes?namespace=team')).body).toMatchObject({
      servingRuntimes: [{ metadata: { name: 'own' } }],
      clusterServingRuntimes: [{ metadata: { name: 'one' } }],
    });
    expect((await api.internal('GET', '/internal/runtimes?namespace=other')).body).toMatchObject({
      servingRuntimes: [],
    });
  });

  test("are refused in KServe's words when two claim one format with one priority", async () => {
    await api.call('PUT', `${cluster}/first`, clusterRuntime('first', 'beta', 3));
    const answer = await api.call('PUT', `${cluster}/second`, clusterRuntime('second', 'beta', 3));
    expect(answer.status).toBe(422);
    expect((answer.body as { detail: string }).detail).toContain(
      'same priority assigned for the model format beta',
    );
    expect((await api.call('GET', `${cluster}/second`)).status).toBe(404);
  });

  test.each(['Upper', 'a_b', '-a', 'a..b', 'a%20b', 'a%00'])(
    'are refused under the name %s',
    async (path) => {
      const name = decodeURIComponent(path);
      const answer = await api.call('PUT', `${cluster}/${path}`, clusterRuntime(name, 'delta'));
      expect([answer.status, answer.body]).toMatchObject([422, { errors: [{ path: 'metadata.name' }] }]);
      const elsewhere = namespaced.replace('team', path);
      const own = { ...clusterRuntime('own', 'delta'), kind: 'ServingRuntime' };
      expect((await api.call('PUT', `${elsewhere}/own`, own)).body).toMatchObject({
        errors: [{ path: 'metadata.namespace' }],
      });
    },
  );

  test('a local environment whose requirements are not pinned is refused', async () => {
    const loose = clusterRuntime('loose', 'gamma');
    const answer = await api.call('PUT', `${cluster}/loose`, {
      ...loose,
      metadata: { name: 'loose', annotations: { 'muster.dev/local-environment': 'python: some-server' } },
    });
    expect(answer.status).toBe(422);
    expect((answer.body as { detail: string }).detail).toContain('==');
  });

  test('one in use is not deleted, and the answer names who uses it', async () => {
    await api.call('PUT', `${cluster}/used`, clusterRuntime('used', 'delta'));
    const user = service('user');
    user.spec.predictor.model!.runtime = 'used';
    await api.call('PUT', '/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/user', user);
    const refused = await api.call('DELETE', `${cluster}/used`);
    expect(refused.status).toBe(409);
    expect((refused.body as { detail: string }).detail).toContain('user');
    await api.call('PUT', `${cluster}/free`, clusterRuntime('free', 'epsilon'));
    expect((await api.call('DELETE', `${cluster}/free`)).status).toBe(200);
    expect((await api.call('DELETE', `${cluster}/free`)).status).toBe(404);
  });
});
