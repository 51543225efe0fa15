import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { newKey, useAccess } from '../../fixtures/access/keys.ts';
import { startCountingGateway } from '../../fixtures/budget/counting-gateway.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, Respond } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

const json =
  (value: unknown): Respond =>
  (_seen, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(value));
  };

/** As KServe's SDK: asks the predictor by the host it was started with, and hands on the request's id alone. */
function component(predictorHost: () => string, change: (instances: number[]) => number[]): Respond {
  return (seen, response) => {
    const { instances } = JSON.parse(seen.body.toString()) as { instances: number[] };
    void fetch(`http://${predictorHost()}/v1/models/iris:predict`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'x-request-id': String(seen.headers['x-request-id']),
      },
      body: JSON.stringify({ instances: change(instances) }),
    }).then(async (answer) => {
      const body = await answer.text();
      response.writeHead(answer.status, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ from: seen.url, predictor: JSON.parse(body) as unknown }));
    });
  };
}

describe('a service with transformer and explainer', () => {
  let gateway: TestGateway;
  let predictor: Backend;
  let transformer: Backend;
  let explainer: Backend;
  /** The gateway that components ask, where it is not the one of all tests. */
  let countingUrl: string | null;
  const predictorHost = () =>
    `${(countingUrl ?? gateway.url).slice('http://'.length)}/serving/default/iris-predictor`;
  beforeEach(async () => {
    countingUrl = null;
    predictor = await startBackend((seen, response) => {
      json({ predictions: (JSON.parse(seen.body.toString()) as { instances: number[] }).instances })(
        seen,
        response,
      );
    });
    transformer = await startBackend(component(predictorHost, (instances) => instances.map((x) => x * 2)));
    explainer = await startBackend(component(predictorHost, (instances) => [...instances, 0]));
    gateway = await startTestGateway({}, [chained()]);
  });
  afterEach(async () => {
    await gateway.close();
    await Promise.all([predictor, transformer, explainer].map((backend) => backend.close()));
  });

  const targets = (backend: Backend) => [
    { revision: 'r1', percent: 100, endpoints: [{ address: backend.address, revision: 'r1', ready: true }] },
  ];
  const chained = () => ({
    ...service('iris', {
      ready: [predictor.address],
      hosts: ['iris-default.example.com'],
      upstreamModel: 'inner',
    }),
    transformer: { targets: targets(transformer) },
    explainer: { targets: targets(explainer) },
  });
  const predict = (headers: Record<string, string> = {}, path = '/v1/models/iris:predict') =>
    postJson(`${gateway.url}${path}`, { instances: [1, 2] }, headers);

  test('predicts by way of its transformer, which asks the predictor', async () => {
    expect((await predict()).body).toEqual({
      from: '/v1/models/iris:predict',
      predictor: { predictions: [2, 4] },
    });
    expect(predictor.seen[0]?.url).toBe('/v1/models/inner:predict');
  });

  test('explains by its explainer, which asks the predictor and not the transformer', async () => {
    const answer = await predict({}, '/v1/models/iris:explain');
    expect(answer.body).toMatchObject({ predictor: { predictions: [1, 2, 0] } });
    expect(transformer.seen).toHaveLength(0);
  });

  test.each([
    ['by its path', {}, '/serving/default/iris-predictor/v1/models/iris:predict'],
    ['by its host', { host: 'iris-predictor-default.example.com' }, '/v1/models/iris:predict'],
  ])('has a predictor that can be asked alone, %s', async (_how, headers, path) => {
    // fetch sets its own Host: a raw client says which.
    const { status, body } = await rawPost(gateway.url, path, { instances: [3] }, headers);
    expect([status, body]).toEqual([200, { predictions: [3] }]);
    expect(transformer.seen).toHaveLength(0);
  });

  test('lets the transformer ask in the name of its caller, where keys are needed, and nobody else', async () => {
    const { key, record } = newKey({ models: ['default/iris'] });
    useAccess(gateway, [chained()], { mode: 'required', keys: [record] });
    expect((await predict({ authorization: `Bearer ${key}`, 'x-request-id': 'r-1' })).status).toBe(200);
    expect(Object.keys(predictor.seen[0]?.headers ?? {})).not.toContain('authorization');
    const direct = '/serving/default/iris-predictor/v1/models/iris:predict';
    expect((await predict({ 'x-request-id': 'r-1' }, direct)).status).toBe(401);
    expect((await predict({ 'x-request-id': 'r-2' }, direct)).status).toBe(401);
  });

  test('lets the transformer ask by the predictor’s host, too, and not by that of another', async () => {
    const { key, record } = newKey({ models: ['default/iris'] });
    const hosts = ['iris-default.example.com', 'iris-predictor-default.example.com', 'other.example.com'];
    const statuses: number[] = [];
    await transformer.close();
    transformer = await startBackend((seen, response) => {
      const id = String(seen.headers['x-request-id']);
      const asked = hosts.map((host) =>
        rawPost(gateway.url, '/v1/models/iris:predict', { instances: [3] }, { host, 'x-request-id': id }),
      );
      void Promise.all(asked).then((answers) => {
        statuses.push(...answers.map(({ status }) => status));
        response.end('{"predictions": []}');
      });
    });
    useAccess(gateway, [chained()], { mode: 'required', keys: [record] });
    expect((await predict({ authorization: `Bearer ${key}`, 'x-request-id': 'r-1' })).status).toBe(200);
    expect(statuses).toEqual([401, 200, 401]);
  });

  test('lets nobody in by an id that is under way: ids are the clients’, and are told to everybody', async () => {
    const { key, record } = newKey({ models: ['default/iris'] });
    const direct = '/serving/default/iris-predictor/v1/models/iris:predict';
    let whileUnderWay: number[] = [];
    await transformer.close();
    transformer = await startBackend((seen, response) => {
      const told = String(seen.headers['x-request-id']);
      expect(told).toMatch(/^r-1~[\w-]{22}$/);
      void Promise.all(
        ['r-1', 'r-1~', `${told.slice(0, -1)}!`].map((id) => predict({ 'x-request-id': id }, direct)),
      ).then((answers) => {
        whileUnderWay = answers.map(({ status }) => status);
        response.end('{"predictions": []}');
      });
    });
    useAccess(gateway, [chained()], { mode: 'required', keys: [record] });
    const answer = await predict({ authorization: `Bearer ${key}`, 'x-request-id': 'r-1' });
    expect([answer.status, answer.headers.get('x-request-id')]).toEqual([200, 'r-1']);
    expect(whileUnderWay).toEqual([401, 401, 401]);
  });

  test('counts a request once: what its transformer asks of the predictor is a part of it', async () => {
    const { key, record } = newKey({ models: ['default/iris'] });
    const counting = await startCountingGateway([chained()], {
      access: { mode: 'required', keys: [record] },
      prices: { models: [{ model: '*', perRequest: 1_000 }] },
      budgets: [{ id: 'all', period: 'total', limitCostMicros: 10_000, sliceCostMicros: 1_000 }],
      rateLimits: [{ id: 'slow', requestsPerMinute: 4 }],
    });
    try {
      countingUrl = counting.url;
      const ask = (path = '') =>
        postJson(
          `${counting.url}${path}/v1/models/iris:predict`,
          { instances: [1] },
          { authorization: `Bearer ${key}` },
        );
      for (let time = 0; time < 3; time += 1) expect((await ask()).status).toBe(200);
      await until(() => counting.used.length >= 3);
      expect(predictor.seen).toHaveLength(3);
      const [account] = counting.accounting.budgets.accounts.values();
      expect([counting.used.length, account?.share.spentMicros, account?.share.reservedMicros]).toEqual([
        3, 3_000, 0,
      ]);
      // Whoever asks the predictor by a way of their own is counted, up to the rate.
      const direct = [
        await ask('/serving/default/iris-predictor'),
        await ask('/serving/default/iris-predictor'),
      ];
      expect(direct.map(({ status }) => status)).toEqual([200, 429]);
      await until(() => counting.used.length >= 4);
      expect(account?.share.spentMicros).toBe(4_000);
    } finally {
      await counting.close();
    }
  });

  test('is not ready while its transformer is not, and says so', async () => {
    const route = chained();
    const [target] = route.transformer.targets;
    const notReady = { ...target, endpoints: target?.endpoints.map((e) => ({ ...e, ready: false })) ?? [] };
    gateway.use([{ ...route, transformer: { targets: [{ revision: 'r1', percent: 100, ...notReady }] } }]);
    expect((await predict()).status).toBe(503);
    expect((await get(`${gateway.url}/v1/models`)).body).toMatchObject({ data: [{ ready: false }] });
  });

  test('keeps its components’ servers from one table to the next', async () => {
    await predict();
    expect(gateway.endpoints.bind(transformer.address).isListed).toBe(true);
    gateway.use([chained()]);
    expect(gateway.endpoints.bind(transformer.address).isListed).toBe(true);
    expect((await predict()).status).toBe(200);
  });

  test('keeps no trace of a chain that is over', async () => {
    await Promise.all(Array.from({ length: 20 }, () => predict()));
    gateway.use([service('iris', { ready: [predictor.address] })]);
    const { status, body } = await predict({}, '/v1/models/iris:explain');
    expect([status, body]).toEqual([501, { error: 'Model with name iris has no explainer.' }]);
  });
});

async function rawPost(
  url: string,
  path: string,
  body: unknown,
  headers: Record<string, string>,
): Promise<{ status: number; body: unknown }> {
  const { request } = await import('node:http');
  return new Promise((resolve, reject) => {
    const sent = request(
      url + path,
      { method: 'POST', headers: { 'content-type': 'application/json', ...headers } },
      (response) => {
        let text = '';
        response.on('data', (part: Buffer) => (text += part.toString()));
        response.on('end', () => {
          resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) as unknown });
        });
      },
    );
    sent.on('error', reject);
    sent.end(JSON.stringify(body));
  });
}
