import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { newKey } from '../../fixtures/access/keys.ts';
import { refusingAddress, startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, Respond, Seen } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';

/** Answers each instance with its double; refuses a whole request that holds one which is no number. */
const doubling: Respond = (seen, response) => {
  const { instances } = JSON.parse(seen.body.toString()) as { instances: unknown[] };
  if (instances.some((one) => typeof one !== 'number'))
    response.writeHead(400).end('{"error":"not a number"}');
  else response.end(JSON.stringify({ predictions: (instances as number[]).map((n) => 2 * n) }));
};
const instancesOf = ({ body }: Seen) => (JSON.parse(body.toString()) as { instances: unknown[] }).instances;

describe('the batcher', () => {
  let gateway: TestGateway;
  const closers: (() => Promise<void>)[] = [];
  const start = async (respond: Respond): Promise<Backend> => {
    const backend = await startBackend(respond);
    closers.push(backend.close);
    return backend;
  };
  const use = (backend: Backend, batcher: object = {}, policy: object = {}) => {
    const settings = { maxBatchSize: 3, maxLatencyMs: 10_000, timeoutMs: 5_000, ...batcher };
    const one = service('m', { ready: [backend.address], batcher: settings });
    expect(gateway.store.apply({ ...table([one]), policy }, -1)).not.toBeNull();
  };
  const predict = (instances: unknown[], more: object = {}, headers: Record<string, string> = {}) =>
    postJson(`${gateway.url}/v1/models/m:predict`, { instances, ...more }, headers);
  const metric = async (name: string) => {
    const { text } = await get(`${gateway.url}/metrics`);
    const line = text.split('\n').find((one) => one.startsWith(`muster_gateway_batcher_${name} `));
    return Number(line?.slice(line.lastIndexOf(' ') + 1));
  };
  const way = (name: string) => metric(`requests_total{way="${name}"}`);

  beforeEach(async () => {
    gateway = await startTestGateway();
  });
  afterEach(async () => {
    await gateway.close();
    for (const close of closers.splice(0)) await close();
  });

  test('joins requests up to its size, and gives each its own part under its own request id', async () => {
    const backend = await start(doubling);
    use(backend);
    const answers = await Promise.all([
      predict([1], {}, { 'x-request-id': 'one' }),
      predict([2, 3], {}, { 'x-request-id': 'two' }),
    ]);
    expect(answers.map(({ body }) => body)).toEqual([{ predictions: [2] }, { predictions: [4, 6] }]);
    expect(answers.map(({ headers }) => headers.get('x-request-id'))).toEqual(['one', 'two']);
    expect(answers.map(({ headers }) => headers.get('x-muster-batch-size'))).toEqual(['3', '3']);
    expect(backend.seen.map(instancesOf)).toEqual([[1, 2, 3]]);
    expect([await way('joined'), await metric('batches_total'), await metric('rows_total')]).toEqual([
      2, 1, 3,
    ]);
    const { text } = await get(`${gateway.url}/metrics`);
    expect(text).toMatch(
      /muster_gateway_requests_total\{protocol="v1",namespace="default",service="m",code="200"\} 2/,
    );
  });

  test('sends what there is after the latency, and a request that stayed alone byte for byte', async () => {
    const backend = await start(doubling);
    use(backend, { maxLatencyMs: 20 });
    const body = '{ "instances" : [ 1.50 ] }';
    const answer = await postJson(`${gateway.url}/v1/models/m:predict`, body);
    expect(answer.body).toEqual({ predictions: [3] });
    expect(answer.headers.get('x-muster-batch-size')).toBeNull();
    expect(backend.seen[0]?.body.toString()).toBe(body);
  });

  test('makes no batch larger than its size, and splits no request', async () => {
    const backend = await start(doubling);
    use(backend, { maxLatencyMs: 20 });
    const answers = await Promise.all([predict([1, 2]), predict([3, 4]), predict([5, 6, 7, 8])]);
    expect(answers.map(({ body }) => (body as { predictions: number[] }).predictions)).toEqual([
      [2, 4],
      [6, 8],
      [10, 12, 14, 16],
    ]);
    expect(Math.max(...backend.seen.map((seen) => instancesOf(seen).length))).toBe(4);
    expect(backend.seen).toHaveLength(3);
  });

  test('joins only requests that are alike but for their instances', async () => {
    const backend = await start(doubling);
    use(backend, { maxLatencyMs: 30 });
    await Promise.all([
      predict([1]),
      predict([2], { signature_name: 'other' }),
      predict([3], {}, { 'x-muster-tier': 'best-effort' }),
      predict([4]),
    ]);
    expect(backend.seen.map(instancesOf).sort()).toEqual([[1, 4], [2], [3]]);
  });

  test('nothing of one client goes along for the others, nor comes back to them', async () => {
    const backend = await start((seen, response) => {
      response.setHeader('set-cookie', 'session=first');
      response.setHeader('x-trace', 'first');
      doubling(seen, response);
    });
    use(backend, { maxBatchSize: 2, maxLatencyMs: 30 });
    const own = { traceparent: '00-1-1-00', 'x-forwarded-for': '192.0.2.1', 'x-mine': 'a', accept: '*/*' };
    const answers = await Promise.all([predict([1], {}, own), predict([2], {}, { accept: '*/*' })]);
    expect(answers.map(({ headers }) => [headers.get('set-cookie'), headers.get('x-trace')])).toEqual([
      [null, null],
      [null, null],
    ]);
    expect(backend.seen.map(instancesOf)).toEqual([[1, 2]]);
    expect(backend.seen[0]?.headers).toMatchObject({ accept: '*/*' });
    for (const name of ['traceparent', 'x-forwarded-for', 'x-mine'])
      expect(backend.seen[0]?.headers).not.toHaveProperty(name);
  });

  test('a request with a cookie goes by itself, with it', async () => {
    const backend = await start(doubling);
    use(backend, { maxBatchSize: 2, maxLatencyMs: 30 });
    await Promise.all([predict([1], {}, { cookie: 'session=ann' }), predict([2])]);
    expect(backend.seen.map(instancesOf).sort()).toEqual([[1], [2]]);
    expect(backend.seen.map(({ headers }) => headers.cookie).sort()).toEqual(['session=ann', undefined]);
    expect(await way('unjoinable')).toBe(1);
  });

  test('a server that is told who asks gets batches of one person alone, never a key of the gateway', async () => {
    const backend = await start(doubling);
    const { key, record } = newKey();
    const batcher = { maxBatchSize: 2, maxLatencyMs: 30, timeoutMs: 5_000 };
    const one = service('m', { ready: [backend.address], batcher, passAuthorization: true });
    gateway.store.apply({ ...table([one]), policy: { access: { keys: [record] } } }, -1);
    const [ann, bob] = [{ authorization: 'Bearer ann' }, { authorization: 'Bearer bob' }];
    await Promise.all([
      predict([1], {}, { ...ann, 'x-api-key': key }),
      predict([2], {}, bob),
      predict([3], {}, { ...ann, 'x-api-key': key }),
      predict([4], {}, { authorization: `Bearer ${key}` }),
    ]);
    const told = backend.seen.map((seen) => [seen.headers.authorization, instancesOf(seen)]);
    expect(told).toHaveLength(3);
    expect(told).toEqual(
      expect.arrayContaining([
        ['Bearer ann', [1, 3]],
        ['Bearer bob', [2]],
        [undefined, [4]],
      ]),
    );
    expect(JSON.stringify(backend.seen.map(({ headers }) => headers))).not.toContain(key);
  });

  describe('where another service may answer in its place', () => {
    const keyed = (models: string[]) => newKey({ models, tenant: 'acme' });
    const useTwo = async (keys: ReturnType<typeof newKey>[], policy: object) => {
      const other = await start(doubling);
      const batcher = { maxBatchSize: 2, maxLatencyMs: 10_000, timeoutMs: 5_000 };
      const services = [
        service('m', { ready: [await refusingAddress()], batcher }),
        service('other', { ready: [other.address], upstreamModel: 'm' }),
      ];
      const access = { mode: 'required', keys: keys.map(({ record }) => record) };
      gateway.store.apply({ ...table(services), policy: { access, ...policy } }, -1);
      return other;
    };
    const askAs = ({ key }: { readonly key: string }, model: string) =>
      postJson(
        `${gateway.url}/v1/models/${model}:predict`,
        { instances: [1] },
        { authorization: `Bearer ${key}` },
      );

    test('that answers nobody who may not ask it, whoever came first', async () => {
      const [both, one] = [keyed(['*']), keyed(['default/m'])];
      const other = await useTwo([both, one], {
        resilience: { fallbacks: { 'default/m': ['default/other'] } },
      });
      const answers = await Promise.all([both, one, both, one].map((who) => askAs(who, 'm')));
      expect(answers.map(({ status }) => status)).toEqual([200, 503, 200, 503]);
      expect(other.seen.map(instancesOf)).toEqual([[1, 1]]);
    });

    test('a batch is of those who asked for the model of both, or of those who asked for the one', async () => {
      const who = keyed(['default/m', 'default/shared']);
      const backends = ['m', 'other'].map((name, at) => ({
        service: `default/${name}`,
        class: name,
        pricePerHour: 1 + at,
        speed: 1,
      }));
      await useTwo([who], { models: { shared: { backends } } });
      const answers = await Promise.all(['shared', 'm', 'shared', 'm'].map((model) => askAs(who, model)));
      expect(answers.map(({ status }) => status)).toEqual([200, 503, 200, 503]);
    });
  });

  test('one bad request fails alone: the others are asked for by themselves', async () => {
    const backend = await start(doubling);
    use(backend);
    const [good, bad, other] = await Promise.all([predict([1]), predict(['x']), predict([3])]);
    expect([good.status, bad.status, other.status]).toEqual([200, 400, 200]);
    expect([good.body, bad.body, other.body]).toEqual([
      { predictions: [2] },
      { error: 'not a number' },
      { predictions: [6] },
    ]);
    expect(await way('again')).toBe(3);
  });

  test('what is no V1 request goes to the server as it is, and its refusal comes back', async () => {
    const backend = await start((_seen, response) => response.writeHead(422).end('{"error":"mine"}'));
    use(backend);
    const answer = await postJson(`${gateway.url}/v1/models/m:predict`, '{"instances":');
    expect([answer.status, answer.text]).toEqual([422, '{"error":"mine"}']);
  });

  test("a busy server's refusal is every request's, with its Retry-After", async () => {
    const backend = await start((_seen, response) =>
      response.writeHead(429, { 'retry-after': '7' }).end('{"error":"busy"}'),
    );
    use(backend, {}, { resilience: { all: { retry: { tries: 1 } } } });
    const answers = await Promise.all([predict([1]), predict([2]), predict([3])]);
    for (const { status, headers, text } of answers)
      expect([status, headers.get('retry-after'), text]).toEqual([429, '7', '{"error":"busy"}']);
    expect(backend.seen).toHaveLength(1);
  });

  test('answers that do not fall apart are asked for one by one, and after three the batches stop', async () => {
    const backend = await start((_seen, response) => response.end('{"predictions":[1]}'));
    use(backend, { maxBatchSize: 2 });
    for (let n = 0; n < 4; n += 1) {
      const answers = await Promise.all([predict([1]), predict([2])]);
      expect(answers.map(({ body }) => body)).toEqual([{ predictions: [1] }, { predictions: [1] }]);
    }
    expect(backend.seen.filter((seen) => instancesOf(seen).length === 2)).toHaveLength(3);
    expect(await way('given_up')).toBe(2);
  });

  test('a batch that takes too long is 504 for each of its requests', async () => {
    const backend = await start(() => undefined);
    use(backend, { timeoutMs: 100 });
    const answers = await Promise.all([predict([1]), predict([2, 3])]);
    expect(answers.map(({ status }) => status)).toEqual([504, 504]);
    await until(async () => (await metric('waiting')) === 0);
  });

  test("a client that leaves takes nothing from the others, and the last one's leaving ends the batch", async () => {
    const held: ServerResponse[] = [];
    let closed = 0;
    const backend = await start((_seen, response) => {
      response.on('close', () => (closed += 1));
      held.push(response);
    });
    use(backend, { maxBatchSize: 2 });
    const leaver = new AbortController();
    const leave = fetch(`${gateway.url}/v1/models/m:predict`, {
      method: 'POST',
      body: '{"instances":[1]}',
      signal: leaver.signal,
    }).catch(() => null);
    await until(async () => (await metric('waiting')) === 1);
    const stay = predict([2]);
    await until(() => held.length === 1);
    leaver.abort();
    await leave;
    held[0]?.end('{"predictions":[10,20]}');
    expect((await stay).body).toEqual({ predictions: [20] });

    const both = [new AbortController(), new AbortController()];
    const gone = both.map(({ signal }) =>
      fetch(`${gateway.url}/v1/models/m:predict`, {
        method: 'POST',
        body: '{"instances":[1]}',
        signal,
      }).catch(() => null),
    );
    await until(() => held.length === 2);
    for (const each of both) each.abort();
    await Promise.all(gone);
    await until(() => closed === 2);
    expect([await metric('waiting'), await metric('waiting_bytes')]).toEqual([0, 0]);
  });

  test('clients that leave before their batch is sent are not in it', async () => {
    const backend = await start(doubling);
    use(backend, { maxLatencyMs: 300 });
    const leaver = new AbortController();
    const leave = fetch(`${gateway.url}/v1/models/m:predict`, {
      method: 'POST',
      body: '{"instances":[1]}',
      signal: leaver.signal,
    }).catch(() => null);
    await until(async () => (await metric('waiting')) === 1);
    const stay = [predict([2]), predict([3])];
    await until(async () => (await metric('waiting')) === 3 || backend.seen.length > 0);
    leaver.abort();
    await leave;
    for (const { status } of await Promise.all(stay)) expect(status).toBe(200);
    expect(await metric('waiting')).toBe(0);
  });

  test('a batch holds one place of a limited service, and a payload log tells of each request', async () => {
    const [backend, sink] = [await start(doubling), await start((_seen, response) => response.end())];
    use(
      backend,
      {},
      {
        qos: { concurrency: { perService: 1 } },
        payloadLog: { sinks: [{ url: sink.address, mode: 'response' }] },
      },
    );
    const answers = await Promise.all([1, 2, 3, 4, 5, 6].map((n) => predict([n])));
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    expect(backend.seen).toHaveLength(2);
    await until(() => sink.seen.length === 6);
    expect(sink.seen.map(({ body }) => body.toString()).sort()).toEqual(
      [2, 4, 6, 8, 10, 12].map((n) => `{"predictions":[${n}]}`).sort(),
    );
    const { text } = await get(`${gateway.url}/metrics`);
    expect(text).toMatch(/muster_gateway_queue_places_taken\{service="default\/m"\} 0/);
  });

  test('rows of a client that left make room for others', async () => {
    const backend = await start(doubling);
    use(backend);
    const leaver = new AbortController();
    const leave = fetch(`${gateway.url}/v1/models/m:predict`, {
      method: 'POST',
      body: '{"instances":[9]}',
      signal: leaver.signal,
    }).catch(() => null);
    await until(async () => (await metric('waiting')) === 1);
    const stay = predict([1]);
    await until(async () => (await metric('waiting')) === 2);
    leaver.abort();
    await leave;
    await until(async () => (await metric('waiting')) === 1);
    for (const answer of await Promise.all([stay, predict([2]), predict([3])]))
      expect(answer.status).toBe(200);
    expect(backend.seen.map((seen) => instancesOf(seen).sort())).toEqual([[1, 2, 3]]);
  });

  test('what a transformer asks its predictor is batched, and what it is asked itself is not', async () => {
    const predictor = await start(doubling);
    const transformer = await start((seen, response) => {
      const id = String(seen.headers['x-request-id']);
      void postJson(`${gateway.url}/serving/default/m-predictor/v1/models/m:predict`, seen.body.toString(), {
        'x-request-id': id,
      }).then(({ status, text }) => response.writeHead(status).end(text));
    });
    const endpoint = { address: transformer.address, revision: 'r1', ready: true };
    const one = service('m', {
      ready: [predictor.address],
      batcher: { maxBatchSize: 2, maxLatencyMs: 10_000, timeoutMs: 5_000 },
      transformer: { targets: [{ revision: 'r1', percent: 100, endpoints: [endpoint] }] },
    });
    // One place: if the transformer's request took it, its own question would wait for ever.
    gateway.store.apply({ ...table([one]), policy: { qos: { concurrency: { perService: 1 } } } }, -1);
    const answers = await Promise.all([predict([1]), predict([2])]);
    expect(answers.map(({ body }) => body)).toEqual([{ predictions: [2] }, { predictions: [4] }]);
    expect([transformer.seen.length, predictor.seen.length]).toEqual([2, 1]);
  });

  test('a cut answer is asked for again, one by one', async () => {
    let calls = 0;
    const backend = await start((seen, response) => {
      calls += 1;
      if (instancesOf(seen).length > 1) {
        response.writeHead(200, { 'content-length': '1000' });
        response.write('{"predictions"');
        setTimeout(() => response.destroy(), 10);
      } else doubling(seen, response);
    });
    use(backend, {}, { resilience: { all: { retry: { tries: 1 } } } });
    const answers = await Promise.all([predict([1]), predict([2]), predict([3])]);
    expect(answers.map(({ body }) => body)).toEqual([
      { predictions: [2] },
      { predictions: [4] },
      { predictions: [6] },
    ]);
    expect(calls).toBeGreaterThanOrEqual(4);
  });
});
