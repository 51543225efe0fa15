import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Validator } from '@seriousme/openapi-schema-validator';
import type { ApiHarness } from '../../fixtures/control/api-harness.ts';
import { startApi } from '../../fixtures/control/api-harness.ts';

const list = '/apis/serving.kserve.io/v1beta1/inferenceservices';

describe('who may call the control API', () => {
  let api: ApiHarness;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api.close());

  /** node's own client, since fetch does not let a test choose the Host header. */
  function status(path: string, headers: Record<string, string>): Promise<number> {
    return new Promise((resolve, reject) => {
      request(`${api.url}${path}`, { headers }, (answer) => {
        answer.resume();
        resolve(answer.statusCode ?? 0);
      })
        .on('error', reject)
        .end();
    });
  }
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

  test('only the right token opens each kind of route', async () => {
    expect(await status(list, {})).toBe(401);
    expect(await status(list, bearer('wrong'))).toBe(401);
    expect(await status(list, bearer(api.internalToken))).toBe(401);
    expect(await status(list, bearer(api.token))).toBe(200);
    expect(await status('/internal/gateways', bearer(api.token))).toBe(401);
    expect(await status('/%69nternal/gateways', bearer(api.token))).toBe(401);
    expect(await status('/internal/gateways', bearer(api.internalToken))).toBe(200);
  });

  test('probes need none', async () => {
    expect(await status('/healthz', {})).toBe(200);
    expect(await status('/internal/health', {})).toBe(200);
  });

  test.each([
    ['a Host of somebody else, as after DNS rebinding', { host: 'evil.example:80' }],
    ['an Origin of a web page', { origin: 'https://evil.example' }],
    ['an opaque Origin', { origin: 'null' }],
  ])('%s is refused whatever the token', async (_name, headers) => {
    expect(await status(list, { ...bearer(api.token), ...headers })).toBe(403);
  });

  test('a refusal is a problem that says what to do, and holds no token', async () => {
    const answer = await fetch(`${api.url}${list}`);
    expect(answer.headers.get('content-type')).toContain('application/problem+json');
    const text = await answer.text();
    expect(text).toContain('Authorization: Bearer');
    expect(text).not.toContain(api.token);
  });

  test('a body over the limit is refused before it is read', async () => {
    const answer = await fetch(`${api.url}/apis/muster.dev/v1alpha1/plan`, {
      method: 'POST',
      headers: { ...bearer(api.token), 'content-type': 'application/json' },
      body: JSON.stringify({ filler: 'x'.repeat(5 * 1024 * 1024) }),
    });
    expect(answer.status).toBe(413);
  });

  test('the OpenAPI 3.1 document is valid, and lists every public route', async () => {
    const { body } = await api.call('GET', '/openapi.json');
    const document = body as { openapi: string; paths: Record<string, Record<string, unknown>> };
    expect(document.openapi).toMatch(/^3\.1/);
    expect(
      await new Validator().validate(document as unknown as Parameters<Validator['validate']>[0]),
    ).toMatchObject({
      valid: true,
    });
    const service = '/apis/serving.kserve.io/v1beta1/namespaces/{ns}/inferenceservices/{name}';
    expect(Object.keys(document.paths[service] ?? {}).sort()).toEqual(['delete', 'get', 'put']);
    for (const path of ['/stop', '/start', '/events', '/history', '/logs']) {
      expect(document.paths).toHaveProperty([service + path]);
    }
    expect(document.paths).toHaveProperty(['/apis/muster.dev/v1alpha1/plan']);
    expect(document.paths).toHaveProperty(['/apis/serving.kserve.io/v1alpha1/clusterservingruntimes/{name}']);
    expect(document.paths).toHaveProperty(['/internal/routes/stream']);
  });
});
