import { status } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import type { Fields } from '../../../gateway/grpc/schema.ts';
import { refusingAddress } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { GrpcFront, floats, raw } from '../../fixtures/grpc/grpc-front.ts';
import { TestClient, failure, identity } from '../../fixtures/grpc/servers.ts';

const front = new GrpcFront();

describe('inference.GRPCInferenceService', () => {
  test('infers with raw bytes and with lists, each answered in its own form', async () => {
    await front.startM();
    const first = await front.client.ask('ModelInfer', raw());
    expect(first.fields).toMatchObject({ model_name: 'm', model_version: '1', id: 'r1' });
    expect((first.fields['raw_output_contents'] as Buffer[]).map((b) => [...b])).toEqual([
      [...floats(1.5, 2.5)],
    ]);
    const inputs = [{ name: 'x', datatype: 'INT64', shape: [2], contents: { int64_contents: [1, -2] } }];
    const second = await front.client.ask('ModelInfer', { model_name: 'm', inputs });
    expect(second.fields['raw_output_contents']).toEqual([]);
    const [output] = second.fields['outputs'] as Fields[];
    expect(output).toMatchObject({ name: 'x', datatype: 'INT64' });
    expect(String((output?.['contents'] as Fields)['int64_contents'])).toBe('1,-2');
  });

  test('sends the server a binary REST request, with no credential and with the request id', async () => {
    await front.startM({ upstreamModel: 'inner' });
    const { metadata } = await front.client.ask('ModelInfer', raw(), {
      'x-request-id': 'from-me',
      authorization: 'Bearer k',
    });
    expect(metadata.get('x-request-id')).toEqual(['from-me']);
    const [seen] = front.backend.seen;
    expect(seen?.url).toBe('/v2/models/inner/infer');
    expect(seen?.headers).toMatchObject({
      'content-type': 'application/octet-stream',
      'x-request-id': 'from-me',
    });
    expect(seen?.headers.authorization).toBeUndefined();
    expect(seen?.body.subarray(-8)).toEqual(floats(1.5, 2.5));
  });

  test('asks for the outputs that were named alone', async () => {
    await front.startM();
    const two = {
      ...raw(),
      inputs: ['x', 'y'].map((name) => ({ name, datatype: 'FP32', shape: [1] })),
      raw_input_contents: [floats(1), floats(2)],
      outputs: [{ name: 'y' }],
    };
    const { fields } = await front.client.ask('ModelInfer', two);
    expect((fields['outputs'] as Fields[]).map(({ name }) => name)).toEqual(['y']);
    expect((fields['raw_output_contents'] as Buffer[]).map((b) => [...b])).toEqual([[...floats(2)]]);
  });

  test('understands a server that answers with JSON all the same', async () => {
    front.respond = (_seen, response) => {
      const outputs = [{ name: 'x', shape: [2], datatype: 'FP32', data: [0.5, 4] }];
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ model_name: 'm', outputs }));
    };
    await front.startM();
    const { fields } = await front.client.ask('ModelInfer', raw());
    expect((fields['raw_output_contents'] as Buffer[]).map((b) => [...b])).toEqual([[...floats(0.5, 4)]]);
  });

  test('tells of itself, of models and of the repository', async () => {
    await front.startM();
    expect((await front.client.ask('ServerLive', {})).fields).toMatchObject({ live: true });
    expect((await front.client.ask('ServerReady', {})).fields).toMatchObject({ ready: true });
    expect((await front.client.ask('ModelReady', { name: 'm' })).fields).toMatchObject({ ready: true });
    expect((await front.client.ask('ServerMetadata', {})).fields).toMatchObject({
      name: 'muster',
      version: '0.0.1',
    });
    const { fields } = await front.client.ask('ModelMetadata', { name: 'm' });
    expect(fields).toMatchObject({ name: 'm', platform: 'none', versions: [] });
    const [input] = fields['inputs'] as Fields[];
    expect([input?.['name'], input?.['datatype'], String(input?.['shape'])]).toEqual(['x', 'FP32', '-1,4']);
    const index = await front.client.ask('RepositoryIndex', {});
    expect(index.fields['models']).toMatchObject([{ name: 'm', state: 'READY' }]);
  });

  test('loads and unloads for KServe clients (field 1) and for Triton clients (field 2)', async () => {
    await front.startM();
    const kserve = await front.client.ask('RepositoryModelLoad', { first: 'm' });
    expect(kserve.fields).toMatchObject({ model_name: 'm', isLoaded: true });
    const triton = await front.client.ask('RepositoryModelUnload', { model_name: 'm' });
    expect(triton.fields).toMatchObject({ model_name: 'm', isUnloaded: true });
    expect(front.backend.seen.map(({ url }) => url)).toEqual([
      '/v2/repository/models/m/load',
      '/v2/repository/models/m/unload',
    ]);
  });

  test('finds a service by namespace and by host as REST does', async () => {
    await front.start([
      service('m', { ready: [front.backend.address], namespace: 'team', hosts: ['m.example'] }),
    ]);
    expect((await failure(front.client.ask('ModelInfer', raw()))).code).toBe(status.NOT_FOUND);
    await front.client.ask('ModelInfer', raw(), { 'x-muster-namespace': 'team' });
    await front.client.ask('ModelInfer', raw(), {}, { host: 'm.example' });
    await front.client.ask('ModelInfer', { ...raw(), model_name: 'team/m' });
    expect(front.backend.seen).toHaveLength(3);
  });

  test('says 503 of a model that is not ready as UNAVAILABLE, and its readiness as false', async () => {
    await front.start([service('m', { unready: ['http://127.0.0.1:1'], state: 'Loading' })]);
    const failed = await failure(front.client.ask('ModelInfer', raw()));
    expect([failed.code, failed.details]).toEqual([status.UNAVAILABLE, expect.stringContaining('not ready')]);
    expect(failed.metadata.get('retry-after')).toHaveLength(1);
    expect((await front.client.ask('ModelReady', { name: 'm' })).fields).toMatchObject({ ready: false });
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
    front.respond = (seen, response) => {
      if (!seen.body.toString().includes('"name":"z"')) {
        identity(seen, response);
        return;
      }
      response.writeHead(400, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ error: "Unexpected inference output 'z' for model 'm'" }));
    };
    await front.startM();
    const failed = await failure(front.client.ask('ModelInfer', fields));
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
    front.respond = (_seen, response) => {
      response.writeHead(http, { 'content-type': 'application/json' });
      response.end('{"error": "no luck"}');
    };
    await front.startM();
    const failed = await failure(front.client.ask('ModelInfer', raw()));
    expect([failed.code, failed.details]).toEqual([code, 'no luck']);
  });

  test('refuses a parameter that JSON has no number for, by its name', async () => {
    await front.startM();
    const asked = front.client.ask('ModelInfer', { ...raw(), parameters: { top_p: { double_param: NaN } } });
    const { code, details } = await failure(asked);
    expect([code, details]).toEqual([status.INVALID_ARGUMENT, expect.stringContaining("'top_p' is NaN")]);
    expect(front.backend.seen).toEqual([]);
  });

  test('tells a refused connection as UNAVAILABLE', async () => {
    await front.start([service('m', { ready: [await refusingAddress()] })]);
    expect((await failure(front.client.ask('ModelInfer', raw()))).code).toBe(status.UNAVAILABLE);
  });

  test('tells nonsense from a server as INTERNAL', async () => {
    front.respond = (_seen, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end('{"outputs": 5}');
    };
    await front.startM();
    const failed = await failure(front.client.ask('ModelInfer', raw()));
    expect([failed.code, failed.details]).toEqual([
      status.INTERNAL,
      expect.stringContaining('cannot be said in gRPC'),
    ]);
  });

  const emoji = '\u{1f600}';
  test.each([
    ['as JSON', '{"error":"cannot parse \\ud83d"}', 'cannot parse \ufffd'],
    ['cut inside a character', `${'e'.repeat(999)}${emoji} and more`, `${'e'.repeat(999)}\ufffd`],
  ])('tells words of a server with half a character in them, %s', async (_how, body, details) => {
    front.respond = (_seen, response) => {
      response.writeHead(400);
      response.end(body);
    };
    await front.startM();
    const failed = await failure(front.client.ask('ModelInfer', raw(), {}, { deadline: Date.now() + 3_000 }));
    expect([failed.code, failed.details]).toEqual([status.INVALID_ARGUMENT, details]);
    expect((await front.client.ask('ServerLive', {})).fields).toMatchObject({ live: true });
  });

  test.each(['cancelled', 'out of time'])(
    'gives the request up at the server when the call is %s',
    async (how) => {
      let isGone = false;
      front.respond = (_seen, response) => {
        response.on('close', () => (isGone = true));
      };
      await front.startM();
      const { promise, call } = front.client.begin(
        'ModelInfer',
        raw(),
        {},
        how === 'cancelled' ? {} : { deadline: Date.now() + 2_000 },
      );
      const failed = failure(promise);
      await until(() => front.backend.seen.length === 1);
      if (how === 'cancelled') call.cancel();
      expect((await failed).code).toBe(how === 'cancelled' ? status.CANCELLED : status.DEADLINE_EXCEEDED);
      await until(() => isGone);
      await until(async () =>
        (await get(`${front.gateway.url}/metrics`)).text.includes('muster_gateway_grpc_request_bytes 0'),
      );
    },
  );

  test('refuses a message that is larger than may be, both ways', async () => {
    await front.start([service('m', { ready: [front.backend.address] })], { grpcMessageBytesMax: 4_096 });
    const large = {
      model_name: 'm',
      inputs: [{ name: 'x', datatype: 'UINT8', shape: [8_192] }],
      raw_input_contents: [Buffer.alloc(8_192)],
    };
    expect((await failure(front.client.ask('ModelInfer', large))).code).toBe(status.RESOURCE_EXHAUSTED);
    front.respond = (_seen, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ model_name: 'm', outputs: [], pad: 'x'.repeat(8_192) }));
    };
    const failed = await failure(front.client.ask('ModelInfer', raw()));
    expect([failed.code, failed.details]).toEqual([
      status.RESOURCE_EXHAUSTED,
      expect.stringContaining('answer is larger than 4096 bytes'),
    ]);
  });

  test('refuses a message when all together hold as many bytes as may be', async () => {
    await front.start([service('m', { ready: [front.backend.address] })], { bodiesBytesMax: 16 });
    const failed = await failure(front.client.ask('ModelInfer', raw()));
    expect([failed.code, failed.details]).toEqual([
      status.RESOURCE_EXHAUSTED,
      expect.stringContaining('try again'),
    ]);
  });

  test('answers a method that it has not with UNIMPLEMENTED', async () => {
    await front.startM();
    const failed = await failure(
      new Promise((_resolve, reject) => {
        front.client.client.makeUnaryRequest(
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
    await front.startM();
    await front.client.ask('ModelInfer', raw());
    await failure(front.client.ask('ModelInfer', { ...raw(), model_name: 'none' }));
    const { text } = await get(`${front.gateway.url}/metrics`);
    expect(text).toContain('muster_gateway_grpc_calls_total{method="ModelInfer",code="OK"} 1');
    expect(text).toContain('muster_gateway_grpc_calls_total{method="ModelInfer",code="NOT_FOUND"} 1');
  });

  test('finishes calls in flight when it stops, and takes no new ones', async () => {
    let finish: () => void = () => undefined;
    front.respond = (seen, response) => {
      finish = () => {
        identity(seen, response);
      };
    };
    await front.startM();
    const asked = front.client.ask('ModelInfer', raw());
    await until(() => front.backend.seen.length === 1);
    const stopped = front.grpc.stop();
    const late = new TestClient(front.grpc.port);
    expect((await failure(late.ask('ServerLive', {}))).code).toBe(status.UNAVAILABLE);
    late.close();
    finish();
    expect((await asked).fields).toMatchObject({ id: 'r1' });
    await stopped;
  });
});
