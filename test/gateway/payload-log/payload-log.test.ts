import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { LoggerRoute } from '../../../domain/payload-log/payload-log-policy.schema.ts';
import { isPublicAddress, isPublicOrName } from '../../../gateway/payload-log/sink-address.ts';
import { refusingAddress, startBackend, startRawBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, Respond } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';

const prediction = '{"predictions":[12345678901234567890,1.0]}';
const answers: Respond = (seen, response) => {
  if (seen.body.toString().includes('"bad"')) response.writeHead(400).end('{"error":"bad"}');
  else response.writeHead(200, { 'content-type': 'application/json' }).end(prediction);
};
const taking: Respond = (_seen, response) => response.writeHead(202).end();

describe('the payload log', () => {
  let gateway: TestGateway;
  const closers: (() => Promise<void>)[] = [];
  const start = async (respond: Respond): Promise<Backend> => {
    const backend = await startBackend(respond);
    closers.push(backend.close);
    return backend;
  };
  const use = (
    backend: Backend,
    logger: LoggerRoute | null,
    payloadLog: object = { allowPrivateSinks: true },
  ) => {
    const one = service('iris', { ready: [backend.address], ...(logger === null ? {} : { logger }) });
    expect(gateway.store.apply({ ...table([one]), policy: { payloadLog } }, -1)).not.toBeNull();
  };
  const predict = (body = '{"instances":[[1.0]]}', headers: Record<string, string> = {}) =>
    postJson(`${gateway.url}/v1/models/iris:predict`, body, headers);
  const outcome = async (name: string) => {
    const { text } = await get(`${gateway.url}/metrics`);
    return Number(
      new RegExp(`muster_gateway_payload_log_events_total\\{outcome="${name}"\\} (\\d+)`).exec(text)?.[1],
    );
  };
  const typesOf = (sink: Backend) =>
    sink.seen.map(({ headers }) => String(headers['ce-type']).split('.').at(-1));

  beforeEach(async () => {
    gateway = await startTestGateway();
  });
  afterEach(async () => {
    await gateway.close();
    for (const close of closers.splice(0)) await close();
  });

  test('sends a request and its answer, byte for byte, under one id', async () => {
    const [backend, sink] = [await start(answers), await start(taking)];
    use(backend, {
      url: `${sink.address}/log?x=1`,
      mode: 'all',
      metadataHeaders: ['X-User', 'Authorization'],
    });
    const answer = await predict(undefined, {
      'x-user': 'ann',
      authorization: 'Bearer secret',
      'x-request-id': 'r1',
    });
    expect(answer.text).toBe(prediction);
    await until(() => sink.seen.length === 2);
    const [request, response] = [...sink.seen].sort((a, b) =>
      String(a.headers['ce-type']) < String(b.headers['ce-type']) ? -1 : 1,
    );
    expect(request?.url).toBe('/log?x=1');
    expect(request?.headers).toMatchObject({
      'ce-type': 'org.kubeflow.serving.inference.request',
      'ce-inferenceservicename': 'iris',
      'ce-namespace': 'default',
      'ce-component': 'predictor',
      'ce-requestid': 'r1',
      'ce-metadata': '{"X-User":"ann"}',
      'content-type': 'application/json',
    });
    expect(request?.body.toString()).toBe('{"instances":[[1.0]]}');
    expect(response?.headers['ce-type']).toBe('org.kubeflow.serving.inference.response');
    expect(response?.headers['ce-id']).toBe(request?.headers['ce-id']);
    expect(response?.body.toString()).toBe(prediction);
    expect(JSON.stringify(sink.seen.map(({ headers }) => headers))).not.toContain('secret');
  });

  test.each([
    ['request', ['request']],
    ['response', ['response']],
    ['all', ['request', 'response']],
  ] as const)('mode %s', async (mode, expected) => {
    const [backend, sink] = [await start(answers), await start(taking)];
    use(backend, { url: sink.address, mode });
    await predict(undefined, { 'ce-id': 'theirs' });
    await until(() => sink.seen.length === expected.length);
    expect(typesOf(sink).sort()).toEqual([...expected]);
    expect(sink.seen[0]?.headers['ce-id']).toBe('theirs');
  });

  test('tells of a request whose answer is an error, and not of the error', async () => {
    const [backend, sink] = [await start(answers), await start(taking)];
    use(backend, { url: sink.address, mode: 'all' });
    await predict('{"instances":["bad"]}');
    await predict();
    await until(() => sink.seen.length === 3);
    expect(typesOf(sink).sort()).toEqual(['request', 'request', 'response']);
  });

  test('sends a stream as the text of its events, once it has ended', async () => {
    const sink = await start(taking);
    const backend = await start((_seen, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"a":1}\n\n');
      setTimeout(() => response.end('data: [DONE]\n\n'), 20);
    });
    use(backend, { url: sink.address, mode: 'response' });
    await postJson(`${gateway.url}/v1/completions`, { model: 'iris', stream: true });
    await until(() => sink.seen.length === 1);
    expect(sink.seen[0]?.body.toString()).toBe('data: {"a":1}\n\ndata: [DONE]\n\n');
    expect(sink.seen[0]?.headers['content-type']).toBe('text/event-stream');
  });

  test('sends to every sink of the policy that the service belongs to, and to its own, each in its form', async () => {
    const backend = await start(answers);
    const [own, all, structured, other] = [
      await start(taking),
      await start(taking),
      await start(taking),
      await start(taking),
    ];
    use(
      backend,
      { url: own.address, mode: 'request' },
      {
        allowPrivateSinks: true,
        sinks: [
          { url: all.address },
          { url: structured.address, format: 'structured', services: ['default/*'], mode: 'response' },
          { url: other.address, services: ['other/*', 'default/other'] },
        ],
      },
    );
    await predict();
    await until(() => all.seen.length === 2 && own.seen.length === 1 && structured.seen.length === 1);
    expect(structured.seen[0]?.headers['content-type']).toBe('application/cloudevents+json; charset=utf-8');
    expect(structured.seen[0]?.body.toString()).toContain(`"data":${prediction}}`);
    expect(other.seen).toEqual([]);
  });

  test('uses the default sink for a service that names none', async () => {
    const [backend, sink] = [await start(answers), await start(taking)];
    use(backend, { mode: 'request' }, { defaultUrl: sink.address });
    await predict();
    await until(() => sink.seen.length === 1);
    expect(await outcome('no_sink')).toBe(0);
  });

  test.each([
    ['http://127.0.0.1:1/'],
    ['http://localhost:1/'],
    ['file:///etc/passwd'],
    ['http://169.254.169.254/latest'],
  ])('never asks %s because a service says so', async (url) => {
    const backend = await start(answers);
    use(backend, { url, mode: 'request' }, { triesMax: 1 });
    expect((await predict()).status).toBe(200);
    await until(async () => (await outcome('no_sink')) + (await outcome('failed')) === 1);
    expect(await outcome('sent')).toBe(0);
  });

  test('asks a loopback sink that a service names by a name only where the policy says so', async () => {
    const [backend, sink] = [await start(answers), await start(taking)];
    const url = sink.address.replace('127.0.0.1', 'localhost');
    use(backend, { url, mode: 'request' }, { triesMax: 1 });
    await predict();
    await until(async () => (await outcome('failed')) === 1);
    expect(sink.seen).toEqual([]);
    use(backend, { url, mode: 'request' });
    await predict();
    await until(() => sink.seen.length === 1);
  });

  test('asks a failing sink again, and gives up in the end', async () => {
    let calls = 0;
    const [backend, sink] = [
      await start(answers),
      await start((_seen, response) => response.writeHead((calls += 1) < 3 ? 503 : 200).end()),
    ];
    use(backend, { url: sink.address, mode: 'request' });
    await predict();
    await until(async () => (await outcome('sent')) === 1);
    expect(calls).toBe(3);
    const address = await refusingAddress();
    const url = `${address}/log?token=secret`;
    use(backend, { url, mode: 'request' }, { allowPrivateSinks: true, triesMax: 2 });
    await predict();
    await until(async () => (await outcome('failed')) === 1);
    const complaints = gateway.logs.filter(({ msg }) => msg === 'payloads were not logged');
    expect(complaints).toMatchObject([{ sink: `${address}/log` }]);
    expect(JSON.stringify(complaints)).not.toContain('secret');
  });

  test('gives up on a sink that takes its time', async () => {
    const [backend, sink] = [await start(answers), await start(() => undefined)];
    use(
      backend,
      { url: sink.address, mode: 'request' },
      { allowPrivateSinks: true, triesMax: 2, timeoutMs: 50 },
    );
    await predict();
    await until(async () => (await outcome('failed')) === 1);
    expect(sink.seen).toHaveLength(2);
  });

  test('does not ask a sink again that refuses an event', async () => {
    const [backend, sink] = [
      await start(answers),
      await start((_seen, response) => response.writeHead(400).end()),
    ];
    use(backend, { url: sink.address, mode: 'request' });
    await predict();
    await until(async () => (await outcome('failed')) === 1);
    expect(sink.seen).toHaveLength(1);
  });

  test('drops and counts what a sink that hangs cannot take, and keeps no request waiting for it', async () => {
    const [backend, good] = [await start(answers), await start(taking)];
    const hanging = await startRawBackend(() => undefined);
    closers.push(hanging.close);
    use(
      backend,
      { url: hanging.address, mode: 'request' },
      {
        allowPrivateSinks: true,
        eventsMax: 4,
        sendsMax: 2,
        timeoutMs: 60_000,
        sinks: [{ url: good.address, mode: 'request' }],
      },
    );
    for (let n = 0; n < 20; n += 1) expect((await predict()).status).toBe(200);
    await until(() => good.seen.length === 20);
    await until(async () => (await outcome('queue_full')) === 14); // two on their way, four wait
    const { text } = await get(`${gateway.url}/metrics`);
    expect(text).toMatch(/muster_gateway_payload_log_waiting 6\n/);
  });

  test('drops and counts what is more than all sinks together may keep waiting', async () => {
    const backend = await start(answers);
    const hanging = await startRawBackend(() => undefined);
    closers.push(hanging.close);
    use(
      backend,
      { url: hanging.address, mode: 'request' },
      { allowPrivateSinks: true, bytesMax: 50, timeoutMs: 60_000 },
    );
    const body = '{"instances":[[1.0]]}';
    for (let n = 0; n < 5; n += 1) await predict(body);
    await until(async () => (await outcome('queue_full')) === 3);
    const { text } = await get(`${gateway.url}/metrics`);
    expect(text).toMatch(new RegExp(`muster_gateway_payload_log_waiting_bytes ${2 * body.length}\\n`));
  });

  test('drops and counts payloads that are too large, without growing', async () => {
    const sink = await start(taking);
    const backend = await start((_seen, response) => response.end('x'.repeat(5_000)));
    use(backend, { url: sink.address, mode: 'all' }, { allowPrivateSinks: true, payloadBytesMax: 1_000 });
    await predict(JSON.stringify({ instances: ['y'.repeat(2_000)] }));
    await predict();
    await until(async () => (await outcome('too_large')) === 3 && sink.seen.length === 1);
    expect(typesOf(sink)).toEqual(['request']);
  });

  test('logs nothing of probes, lists and metadata', async () => {
    const [backend, sink] = [await start(answers), await start(taking)];
    use(backend, { url: sink.address, mode: 'all' });
    await get(`${gateway.url}/v2/models/iris/ready`);
    await get(`${gateway.url}/v2/models/iris`);
    await get(`${gateway.url}/v1/models`);
    await predict();
    await until(() => sink.seen.length === 2);
    expect(await outcome('sent')).toBe(2);
  });

  test.each([['binary'], ['structured']])(
    'does not log its own %s events, where a sink is a service that is logged',
    async (format) => {
      const backend = await start(answers);
      const url = `${gateway.url}/v1/models/iris:predict`;
      use(backend, { url, mode: 'all' }, { allowPrivateSinks: true, format });
      await predict();
      for (let n = 1; n <= 3; n += 1) {
        await until(async () => (await outcome('sent')) === 2 * n);
        expect(backend.seen).toHaveLength(3 * n);
        await predict();
      }
    },
  );

  test('nor what the transformer of such a service asks its predictor for them', async () => {
    const [backend, predictor] = [await start(answers), await start(answers)];
    const transformer = await start((seen, response) => {
      const id = String(seen.headers['x-request-id']);
      void postJson(
        `${gateway.url}/serving/default/drift-predictor/v1/models/drift:predict`,
        seen.body.toString(),
        {
          'x-request-id': id,
        },
      ).then(({ status, text }) => response.writeHead(status).end(text));
    });
    const endpoint = { address: transformer.address, revision: 'r1', ready: true };
    const services = [
      service('iris', { ready: [backend.address] }),
      service('drift', {
        ready: [predictor.address],
        transformer: { targets: [{ revision: 'r1', percent: 100, endpoints: [endpoint] }] },
      }),
    ];
    const payloadLog = { sinks: [{ url: `${gateway.url}/v1/models/drift:predict` }] };
    gateway.store.apply({ ...table(services), policy: { payloadLog } }, -1);
    for (let n = 1; n <= 3; n += 1) {
      await predict();
      await until(async () => (await outcome('sent')) === 2 * n);
      expect([transformer.seen.length, predictor.seen.length]).toEqual([2 * n, 2 * n]);
    }
  });

  test.each([
    ['a header', '{"instances":[[1.0]]}', { 'ce-type': 'org.kubeflow.serving.inference.request' }],
    [
      'its body',
      '{"specversion":"1.0","type":"org.kubeflow.serving.inference.request","instances":[[1.0]]}',
      { 'content-type': 'application/cloudevents+json' },
    ],
  ])(
    'lets nobody keep a request out of the log by calling it an event in %s',
    async (_where, body, headers) => {
      const [backend, sink] = [await start(answers), await start(taking)];
      use(backend, { url: sink.address, mode: 'request' });
      await predict(body, headers);
      await until(() => sink.seen.length === 1);
      expect(sink.seen[0]?.body.toString()).toBe(body);
    },
  );

  test("logs others' events that come to a service which is a sink", async () => {
    const backend = await start(answers);
    const url = `${gateway.url}/v1/models/iris:predict`;
    use(backend, { url, mode: 'request' }, { allowPrivateSinks: true, format: 'structured' });
    const body = '{"specversion":"1.0","type":"com.example.order","data":{"instances":[[1.0]]}}';
    await predict(body, { 'content-type': 'application/cloudevents+json' });
    await until(() => backend.seen.length === 2);
    expect(backend.seen[1]?.body.toString()).toContain('"type":"org.kubeflow.serving.inference.request"');
  });

  test('sends what waits before the gateway ends', async () => {
    const [backend, sink] = [
      await start(answers),
      await start((_seen, response) => setTimeout(() => response.end(), 100)),
    ];
    use(backend, { url: sink.address, mode: 'all' });
    await predict();
    await gateway.finish();
    expect(sink.seen).toHaveLength(2);
  });
});

describe('where a sink may be that a service names', () => {
  test.each([
    ['127.0.0.1', false],
    ['10.1.2.3', false],
    ['169.254.169.254', false],
    ['192.168.1.1', false],
    ['100.64.0.1', false],
    ['0.0.0.0', false],
    ['::1', false],
    ['::', false],
    ['fe80::1', false],
    ['fd00::1', false],
    ['::ffff:127.0.0.1', false],
    ['::ffff:10.0.0.1', false],
    ['64:ff9b::7f00:1', false],
    ['8.8.8.8', true],
    ['2606:4700::1', true],
    ['no address', false],
  ])('%s: %p', (address, isPublic) => {
    expect(isPublicAddress(address)).toBe(isPublic);
  });

  test.each([
    ['http://2130706433/', false],
    ['http://0x7f.1/', false],
    ['http://[::1]:80/', false],
    ['http://example.com/', true],
  ])('%s: %p', (url, isOpen) => {
    expect(isPublicOrName(url)).toBe(isOpen);
  });
});
