import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { startCachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import type { CachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import { json } from '../../fixtures/cache/openai-server.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, Respond } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { postJson } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

/** A transformer that asks the predictor for just what it was asked, and marks the answer as its own. */
describe('answers of a transformer', () => {
  let gateway: CachedGateway;
  let predictor: Backend;
  let transformer: Backend;
  let predicted: number;
  let delayMs: number;
  beforeEach(async () => {
    gateway = await startCachedGateway();
    predicted = 0;
    delayMs = 0;
    predictor = await startBackend((_seen, response) => {
      predicted += 1;
      const predictions = [predicted];
      setTimeout(() => {
        json(response, 200, { predictions });
      }, delayMs);
    });
    transformer = await startBackend(through);
  });
  afterEach(async () => {
    await gateway.close();
    await Promise.all([predictor.close(), transformer.close()]);
  });

  const through: Respond = (seen, response) => {
    const url = `${gateway.url}/serving/default/iris-predictor${seen.url}`;
    const id = { 'x-request-id': String(seen.headers['x-request-id']) };
    void postJson(url, seen.body.toString(), id).then(({ status, body }) => {
      json(response, status, { ...(body as object), by: 'transformer' });
    });
  };
  const target = (revision: string, percent: number, { address }: Backend) => ({
    revision,
    percent,
    endpoints: [{ address, revision, ready: true }],
  });
  const use = (own: string, predictors: readonly string[] = ['p1']) => {
    const targets = predictors.map((name) => target(name, 100 / predictors.length, predictor));
    const iris = service('iris', {
      targets,
      transformer: { targets: [target(own, 100, transformer)] },
    });
    // All share their answers, so that the transformer's question is not told apart by who asks.
    gateway.use([iris], { enabled: true, kserve: true, scope: 'shared' });
  };
  const ask = async (prefix = '') => {
    const { headers, body } = await postJson(`${gateway.url}${prefix}/v1/models/iris:predict`, {
      instances: [1],
    });
    return [headers.get('x-muster-cache'), body];
  };
  const askPredictor = () => ask('/serving/default/iris-predictor');
  const given = (n: number) => ({ predictions: [n], by: 'transformer' });

  test('are kept, and told from those of the predictor that it asks for the same', async () => {
    use('t1');
    expect(await ask()).toEqual(['miss', given(1)]);
    expect(await ask()).toEqual(['hit', given(1)]);
    expect(await askPredictor()).toEqual(['hit', { predictions: [1] }]);
  });

  test('are told apart from the predictor’s where both have revisions of one name', async () => {
    use('r1', ['r1']);
    expect([await ask(), await ask()]).toEqual([
      ['miss', given(1)],
      ['hit', given(1)],
    ]);
    expect(await askPredictor()).toEqual(['hit', { predictions: [1] }]);
  });

  test('are forgotten when the transformer is another, and those of its predictor are not', async () => {
    use('t1');
    await ask();
    use('t2');
    expect(await ask()).toEqual(['miss', given(1)]);
    expect(transformer.seen).toHaveLength(2);
    expect(predicted).toBe(1);
  });

  test('are forgotten when the predictor is another', async () => {
    use('t1');
    await ask();
    use('t1', ['p2']);
    expect(await ask()).toEqual(['miss', given(2)]);
  });

  test('are not kept while it may be one of two predictors that answered behind it', async () => {
    use('t1', ['p1', 'p2']);
    expect([(await ask())[0], (await ask())[0]]).toEqual(['bypass', 'bypass']);
    expect(await gateway.metric('muster_gateway_cache_bypasses_total', { reason: 'no_version' })).toBe(2);
  });

  test('are not kept when a table came meanwhile in which the predictor was another', async () => {
    delayMs = 100;
    use('t1');
    const under = ask();
    await until(() => predicted === 1);
    use('t1', ['p2']);
    await under;
    use('t1');
    expect((await ask())[0]).toBe('miss');
    expect(await gateway.metric('muster_gateway_cache_unkept_total', { reason: 'old_version' })).toBe(2);
  });

  test('are purged by the service’s name, with those of its predictor', async () => {
    use('t1');
    await ask();
    const purged = await postJson(`${gateway.url}/v1/cache/purge`, { model: 'iris' });
    expect(purged.body).toMatchObject({ local: 2 });
    expect(await ask()).toEqual(['miss', given(2)]);
  });
});
