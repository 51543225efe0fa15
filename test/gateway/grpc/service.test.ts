import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import type { ServiceRoute } from '../../../domain/route-table/route-table.schema.ts';
import { startGrpc } from '../../../gateway/grpc/server.ts';
import type { RunningGrpc } from '../../../gateway/grpc/server.ts';
import type { Fields } from '../../../gateway/grpc/schema.ts';
import { defaultLimits } from '../../../gateway/limits.ts';
import type { GatewayLimits } from '../../../gateway/limits.ts';
import { refusingAddress, startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, Respond } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { TestClient, failure, identity } from '../../fixtures/grpc/servers.ts';

const floats = (...values: number[]) => Buffer.from(Float32Array.from(values).buffer);
const raw = (id = 'r1'): Fields => ({
  model_name: 'm',
  id,
  inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2] }],
  raw_input_contents: [floats(1.5, 2.5)],
});

describe('inference.GRPCInferenceService', () => {
  let backend: Backend;
  let respond: Respond;
  let gateway: TestGateway;
  let grpc: RunningGrpc;
  let client: TestClient;

  const start = async (services: ServiceRoute[], limits: Partial<GatewayLimits> = {}) => {
    const all = { ...defaultLimits, ...limits };
    gateway = await startTestGateway(all, services);
    const { handle, metrics } = gateway;
    const logger = pino({ level: 'silent' });
    grpc = await startGrpc({
      host: '127.0.0.1',
      port: 0,
      limits: all,
      logger,
      registry: metrics.registry,
      handle,
    });
    client = new TestClient(grpc.port);
  };
  beforeEach(async () => {
    respond = identity;
    backend = await startBackend((seen, response) => {
      respond(seen, response);
    });
  });
  afterEach(async () => {
    client.close();
    await grpc.stop();
    await gateway.close();
    await backend.close();
  });
  const startM = (more: Parameters<typeof service>[1] = {}) =>
    start([service('m', { ready: [backend.address], ...more })]);

  test('infers with raw bytes and with lists, each answered in its own form', async () => {
    await startM();
    const first = await client.ask('ModelInfer', raw());
    expect(first.fields).toMatchObject({ model_name: 'm', model_version: '1', id: 'r1' });
    expect((first.fields['raw_output_contents'] as Buffer[]).map((b) => [...b])).toEqual([
      [...floats(1.5, 2.5)],
    ]);
    const inputs = [{ name: 'x', datatype: 'INT64', shape: [2], contents: { int64_contents: [1, -2] } }];
    const second = await client.ask('ModelInfer', { model_name: 'm', inputs });
    expect(second.fields['raw_output_contents']).toEqual([]);
    const [output] = second.fields['outputs'] as Fields[];
    expect(output).toMatchObject({ name: 'x', datatype: 'INT64' });
    expect(String((output?.['contents'] as Fields)['int64_contents'])).toBe('1,-2');
  });

  test('sends the server a binary REST request, with no credential and with the request id', async () => {
    await startM({ upstreamModel: 'inner' });
    const { metadata } = await client.ask('ModelInfer', raw(), {
      'x-request-id': 'from-me',
      authorization: 'Bearer k',
    });
    expect(metadata.get('x-request-id')).toEqual(['from-me']);
    const [seen] = backend.seen;
    expect(seen?.url).toBe('/v2/models/inner/infer');
    expect(seen?.headers).toMatchObject({
      'content-type': 'application/octet-stream',
      'x-request-id': 'from-me',
    });
    expect(seen?.headers.authorization).toBeUndefined();
    expect(seen?.body.subarray(-8)).toEqual(floats(1.5, 2.5));
  });

  test('asks for the outputs that were named alone', async () => {
    await startM();
    const two = {
      ...raw(),
      inputs: ['x', 'y'].map((name) => ({ name, datatype: 'FP32', shape: [1] })),
      raw_input_contents: [floats(1), floats(2)],
      outputs: [{ name: 'y' }],
    };
    const { fields } = await client.ask('ModelInfer', two);
    expect((fields['outputs'] as Fields[]).map(({ name }) => name)).toEqual(['y']);
    expect((fields['raw_output_contents'] as Buffer[]).map((b) => [...b])).toEqual([[...floats(2)]]);
  });

  test('understands a server that answers with JSON all the same', async () => {
    respond = (_seen, response) => {
      const outputs = [{ name: 'x', shape: [2], datatype: 'FP32', data: [0.5, 4] }];
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ model_name: 'm', outputs }));
    };
    await startM();
    const { fields } = await client.ask('ModelInfer', raw());
    expect((fields['raw_output_contents'] as Buffer[]).map((b) => [...b])).toEqual([[...floats(0.5, 4)]]);
  });

  test('tells of itself, of models and of the repository', async () => {
    await startM();
    expect((await client.ask('ServerLive', {})).fields).toMatchObject({ live: true });
    expect((await client.ask('ServerReady', {})).fields).toMatchObject({ ready: true });
    expect((await client.ask('ModelReady', { name: 'm' })).fields).toMatchObject({ ready: true });
    expect((await client.ask('ServerMetadata', {})).fields).toMatchObject({
      name: 'muster',
      version: '0.0.1',
    });
    const { fields } = await client.ask('ModelMetadata', { name: 'm' });
    expect(fields).toMatchObject({ name: 'm', platform: 'none', versions: [] });
    const [input] = fields['inputs'] as Fields[];
    expect([input?.['name'], input?.['datatype'], String(input?.['shape'])]).toEqual(['x', 'FP32', '-1,4']);
    const index = await client.ask('RepositoryIndex', {});
    expect(index.fields['models']).toMatchObject([{ name: 'm', state: 'READY' }]);
  });

  test('loads and unloads for KServe clients (field 1) and for Triton clients (field 2)', async () => {
    await startM();
    const kserve = await client.ask('RepositoryModelLoad', { first: 'm' });
    expect(kserve.fields).toMatchObject({ model_name: 'm', isLoaded: true });
    const triton = await client.ask('RepositoryModelUnload', { model_name: 'm' });
    expect(triton.fields).toMatchObject({ model_name: 'm', isUnloaded: true });
    expect(backend.seen.map(({ url }) => url)).toEqual([
      '/v2/repository/models/m/load',
      '/v2/repository/models/m/unload',
    ]);
  });

  test('finds a service by namespace and by host as REST does', async () => {
    await start([service('m', { ready: [backend.address], namespace: 'team', hosts: ['m.example'] })]);
    expect((await failure(client.ask('ModelInfer', raw()))).code).toBe(status.NOT_FOUND);
    await client.ask('ModelInfer', raw(), { 'x-muster-namespace': 'team' });
    await client.ask('ModelInfer', raw(), {}, { host: 'm.example' });
    await client.ask('ModelInfer', { ...raw(), model_name: 'team/m' });
    expect(backend.seen).toHaveLength(3);
  });

  test('says 503 of a model that is not ready as UNAVAILABLE, and its readiness as false', async () => {
    await start([service('m', { unready: ['http://127.0.0.1:1'], state: 'Loading' })]);
    const failed = await failure(client.ask('ModelInfer', raw()));
    expect([failed.code, failed.details]).toEqual([status.UNAVAILABLE, expect.stringContaining('not ready')]);
    expect(failed.metadata.get('retry-after')).toHaveLength(1);
    expect((await client.ask('ModelReady', { name: 'm' })).fields).toMatchObject({ ready: false });
  });

  test.each([
    ['an unknown model', { ...raw(), model_name: 'none' }, status.NOT_FOUND, /none/],
    ['no model', { ...raw(), model_name: '' }, status.INVALID_ARGUMENT, /names no model/],
    [
      'raw bytes of the wrong length',
      { ...raw(), raw_input_contents: [floats(1)] },
      status.INVALID_ARGUMENT,
      /need 8 bytes/,
    ],
    [
      'an output that the server does not know',
      { ...raw(), outputs: [{ name: 'z' }] },
      status.INVALID_ARGUMENT,
      /Unexpected inference output 'z'/,
    ],
  ])('refuses %s', async (_what, fields, code, details) => {
    respond = (seen, response) => {
      if (!seen.body.toString().includes('"name":"z"')) {
        identity(seen, response);
        return;
      }
      response.writeHead(400, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ error: "Unexpected inference output 'z' for model 'm'" }));
    };
    await startM();
    const failed = await failure(client.ask('ModelInfer', fields));
    expect(failed.code).toBe(code);
    expect(failed.details).toMatch(details);
  });

  test.each([
    [401, status.UNAUTHENTICATED],
    [403, status.PERMISSION_DENIED],
    [429, status.RESOURCE_EXHAUSTED],
    [500, status.INTERNAL],
    [501, status.UNIMPLEMENTED],
    [504, status.DEADLINE_EXCEEDED],
    [418, status.INVALID_ARGUMENT],
    [599, status.INTERNAL],
  ])("tells a server's %d as code %d, with its own words", async (http, code) => {
    respond = (_seen, response) => {
      response.writeHead(http, { 'content-type': 'application/json' });
      response.end('{"error": "no luck"}');
    };
    await startM();
    const failed = await failure(client.ask('ModelInfer', raw()));
    expect([failed.code, failed.details]).toEqual([code, 'no luck']);
  });

  test('tells a refused connection as UNAVAILABLE', async () => {
    await start([service('m', { ready: [await refusingAddress()] })]);
    expect((await failure(client.ask('ModelInfer', raw()))).code).toBe(status.UNAVAILABLE);
  });

  test('tells nonsense from a server as INTERNAL', async () => {
    respond = (_seen, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end('{"outputs": 5}');
    };
    await startM();
    const failed = await failure(client.ask('ModelInfer', raw()));
    expect([failed.code, failed.details]).toEqual([
      status.INTERNAL,
      expect.stringContaining('cannot be said in gRPC'),
    ]);
  });

  test.each(['cancelled', 'out of time'])(
    'gives the request up at the server when the call is %s',
    async (how) => {
      let isGone = false;
      respond = (_seen, response) => {
        response.on('close', () => (isGone = true));
      };
      await startM();
      const { promise, call } = client.begin(
        'ModelInfer',
        raw(),
        {},
        how === 'cancelled' ? {} : { deadline: Date.now() + 2_000 },
      );
      const failed = failure(promise);
      await until(() => backend.seen.length === 1);
      if (how === 'cancelled') call.cancel();
      expect((await failed).code).toBe(how === 'cancelled' ? status.CANCELLED : status.DEADLINE_EXCEEDED);
      await until(() => isGone);
      await until(async () =>
        (await get(`${gateway.url}/metrics`)).text.includes('muster_gateway_grpc_request_bytes 0'),
      );
    },
  );

  test('refuses a message that is larger than may be, both ways', async () => {
    await start([service('m', { ready: [backend.address] })], { grpcMessageBytesMax: 4_096 });
    const large = {
      model_name: 'm',
      inputs: [{ name: 'x', datatype: 'UINT8', shape: [8_192] }],
      raw_input_contents: [Buffer.alloc(8_192)],
    };
    expect((await failure(client.ask('ModelInfer', large))).code).toBe(status.RESOURCE_EXHAUSTED);
    respond = (_seen, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ model_name: 'm', outputs: [], pad: 'x'.repeat(8_192) }));
    };
    expect((await failure(client.ask('ModelInfer', raw()))).code).toBe(status.UNAVAILABLE);
  });

  test('refuses a message when all together hold as many bytes as may be', async () => {
    await start([service('m', { ready: [backend.address] })], { bodiesBytesMax: 16 });
    const failed = await failure(client.ask('ModelInfer', raw()));
    expect([failed.code, failed.details]).toEqual([
      status.RESOURCE_EXHAUSTED,
      expect.stringContaining('try again'),
    ]);
  });

  test('answers a method that it has not with UNIMPLEMENTED', async () => {
    await startM();
    const failed = await failure(
      new Promise((_resolve, reject) => {
        client.client.makeUnaryRequest(
          '/inference.GRPCInferenceService/ModelStatistics',
          (value: Buffer) => value,
          (value: Buffer) => value,
          Buffer.alloc(0),
          (error) => {
            reject(error ?? new Error('answered'));
          },
        );
      }),
    );
    expect(failed.code).toBe(status.UNIMPLEMENTED);
  });

  test('counts calls by method and code', async () => {
    await startM();
    await client.ask('ModelInfer', raw());
    await failure(client.ask('ModelInfer', { ...raw(), model_name: 'none' }));
    const { text } = await get(`${gateway.url}/metrics`);
    expect(text).toContain('muster_gateway_grpc_calls_total{method="ModelInfer",code="OK"} 1');
    expect(text).toContain('muster_gateway_grpc_calls_total{method="ModelInfer",code="NOT_FOUND"} 1');
  });

  describe('its stream', () => {
    test('answers in the order of the requests, and tells an error in its place', async () => {
      let held: (() => void) | null = null;
      respond = (seen, response) => {
        const answer = () => {
          identity(seen, response);
        };
        if (seen.body.toString().includes('"id":"a"')) held = answer;
        else {
          answer();
          held?.();
        }
      };
      await startM();
      const stream = client.stream();
      const answers: Fields[] = [];
      stream.on('data', (answer: Fields) => answers.push(answer));
      const ended = new Promise((resolve) => stream.on('end', resolve));
      stream.write(raw('a'));
      stream.write({ ...raw('b'), model_name: 'none' });
      stream.write(raw('c'));
      stream.end();
      await ended;
      expect(answers.map(({ infer_response }) => (infer_response as Fields)['id'])).toEqual(['a', 'b', 'c']);
      expect(answers.map(({ error_message }) => error_message !== '')).toEqual([false, true, false]);
    });

    test('reads no more requests than it may work on', async () => {
      const waiting: (() => void)[] = [];
      respond = (seen, response) => {
        waiting.push(() => {
          identity(seen, response);
        });
      };
      await start([service('m', { ready: [backend.address] })], { grpcStreamWidth: 3 });
      const stream = client.stream();
      let count = 0;
      stream.on('data', () => (count += 1));
      const ended = new Promise((resolve) => stream.on('end', resolve));
      for (let at = 0; at < 20; at += 1) stream.write(raw(String(at)));
      stream.end();
      await until(() => waiting.length === 3);
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(waiting).toHaveLength(3);
      respond = identity;
      for (const answer of waiting) answer();
      await ended;
      expect(count).toBe(20);
    });

    test('gives its requests up when the caller leaves', async () => {
      let gone = 0;
      respond = (_seen, response) => {
        response.on('close', () => (gone += 1));
      };
      await startM();
      const stream = client.stream();
      stream.on('error', () => undefined);
      stream.write(raw('a'));
      stream.write(raw('b'));
      await until(() => backend.seen.length === 2);
      stream.cancel();
      await until(() => gone === 2);
    });
  });

  describe('grpc.health.v1', () => {
    test('tells readiness, and nothing of services that are not here', async () => {
      await startM();
      expect((await client.ask('Check', { service: '' })).fields).toMatchObject({ status: 1 });
      const named = { service: 'inference.GRPCInferenceService' };
      expect((await client.ask('Check', named)).fields).toMatchObject({ status: 1 });
      expect((await failure(client.ask('Check', { service: 'other' }))).code).toBe(status.NOT_FOUND);
    });

    test('tells a watcher when the gateway begins to stop', async () => {
      await startM();
      const watch = client.watch('');
      const told: unknown[] = [];
      watch.on('data', ({ status: value }: Fields) => told.push(value));
      watch.on('error', () => undefined);
      await until(() => told.length === 1);
      gateway.drain();
      await until(() => told.length === 2);
      expect(told).toEqual([1, 2]);
      watch.cancel();
    });
  });

  test('finishes calls in flight when it stops, and takes no new ones', async () => {
    let finish: () => void = () => undefined;
    respond = (seen, response) => {
      finish = () => {
        identity(seen, response);
      };
    };
    await startM();
    const asked = client.ask('ModelInfer', raw());
    await until(() => backend.seen.length === 1);
    const stopped = grpc.stop();
    const late = new TestClient(grpc.port);
    expect((await failure(late.ask('ServerLive', {}))).code).toBe(status.UNAVAILABLE);
    late.close();
    finish();
    expect((await asked).fields).toMatchObject({ id: 'r1' });
    await stopped;
  });
});
