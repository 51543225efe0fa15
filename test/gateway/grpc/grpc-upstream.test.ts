import { createServer } from 'node:http2';
import type { ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { decodeResponse } from '../../../domain/inference-protocol/response.ts';
import { encodeRequest } from '../../../domain/inference-protocol/request.ts';
import type { Fields } from '../../../gateway/grpc/schema.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { startRawBackend } from '../../fixtures/gateway/backends.ts';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { framed } from '../../fixtures/grpc/raw-client.ts';
import { startGrpcServer } from '../../fixtures/grpc/servers.ts';
import type { FakeGrpcServer } from '../../fixtures/grpc/servers.ts';

const body = { id: 'r1', inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], data: [[1.5, 2.5]] }] };

describe('a service whose servers speak gRPC V2 alone', () => {
  let gateway: TestGateway;
  let servers: FakeGrpcServer[];
  const add = async (...args: Parameters<typeof startGrpcServer>): Promise<FakeGrpcServer> => {
    const server = await startGrpcServer(...args);
    servers.push(server);
    return server;
  };
  const use = (ready: readonly string[], more: Parameters<typeof service>[1] = {}) => {
    gateway.use([service('m', { ready, protocols: ['grpc-v2'], ...more })]);
  };
  beforeEach(async () => {
    servers = [];
    gateway = await startTestGateway();
  });
  afterEach(async () => {
    await gateway.close();
    for (const server of servers) server.close();
  });
  const infer = (value: unknown = body, headers: Record<string, string> = {}) =>
    postJson(`${gateway.url}/v2/models/m/infer`, value, headers);

  test('answers JSON with JSON', async () => {
    const server = await add();
    use([server.address], { upstreamModel: 'inner' });
    const answer = await infer(body, {
      'x-request-id': 'mine',
      authorization: 'Bearer k',
      traceparent: '00-a-b-01',
    });
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({
      model_name: 'inner',
      model_version: '1',
      id: 'r1',
      parameters: null,
      outputs: [{ name: 'x', shape: [1, 2], datatype: 'FP32', parameters: null, data: [1.5, 2.5] }],
    });
    const [seen] = server.seen;
    expect(seen?.fields).toMatchObject({ model_name: 'inner', id: 'r1' });
    expect(seen?.metadata.get('x-request-id')).toEqual(['mine']);
    expect(seen?.metadata.get('traceparent')).toEqual(['00-a-b-01']);
    expect(seen?.metadata.get('authorization')).toEqual([]);
  });

  test('is handed Authorization where the service asks for it', async () => {
    const server = await add();
    use([server.address], { passAuthorization: true });
    expect((await infer(body, { authorization: 'Bearer person' })).status).toBe(200);
    expect(server.seen[0]?.metadata.get('authorization')).toEqual(['Bearer person']);
  });

  test('answers binary tensors with binary tensors, FP16 too', async () => {
    use([(await add()).address]);
    const halves = Uint16Array.from([0x3c00, 0x7bff]);
    const request = encodeRequest(
      {
        id: undefined,
        parameters: { binary_data_output: true },
        inputs: [{ name: 'x', datatype: 'FP16', data: halves, shape: [2], parameters: {} }],
        outputs: undefined,
      },
      () => true,
    );
    const answer = await fetch(`${gateway.url}/v2/models/m/infer`, {
      method: 'POST',
      headers: { 'inference-header-content-length': String(request.headerLength) },
      body: Buffer.from(request.body),
    });
    expect(answer.headers.get('content-type')).toBe('application/octet-stream');
    const headerLength = answer.headers.get('inference-header-content-length') ?? undefined;
    const read = decodeResponse({ body: Buffer.from(await answer.arrayBuffer()), headerLength }, 'm');
    expect([...(read.outputs[0]?.data as Uint16Array)]).toEqual([...halves]);
  });

  test('tells of the model, and of its readiness', async () => {
    let isReady = true;
    const server = await add((method) => (method === 'ModelReady' ? { ready: isReady } : undefined));
    use([server.address]);
    expect((await get(`${gateway.url}/v2/models/m`)).body).toEqual({
      name: 'm',
      versions: ['1'],
      platform: 'none',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 4] }],
      outputs: [],
    });
    expect((await get(`${gateway.url}/v2/models/m/ready`)).status).toBe(200);
    isReady = false;
    expect((await get(`${gateway.url}/v2/models/m/ready`)).status).toBe(503);
  });

  test('loads and unloads on every server', async () => {
    const both = [await add(), await add()];
    use(both.map(({ address }) => address));
    expect((await postJson(`${gateway.url}/v2/repository/models/m/load`, '')).status).toBe(200);
    expect(both.map(({ seen }) => seen.map(({ method }) => method))).toEqual([
      ['RepositoryModelLoad'],
      ['RepositoryModelLoad'],
    ]);
  });

  test.each([
    [status.INVALID_ARGUMENT, 400],
    [status.NOT_FOUND, 404],
    [status.UNIMPLEMENTED, 501],
    [status.RESOURCE_EXHAUSTED, 429],
    [status.INTERNAL, 500],
    [status.UNKNOWN, 500],
  ])("tells a server's code %d as %d, with its own words", async (code, http) => {
    use([(await add(() => ({ code, details: 'no luck' }))).address]);
    const answer = await infer();
    expect([answer.status, answer.body]).toEqual([http, { error: 'no luck' }]);
  });

  test.each([
    ['a body that is not JSON', 'x', 400],
    ['data of another length', { inputs: [{ ...body.inputs[0], data: [1] }] }, 400],
    ['no inputs', {}, 400],
  ])('refuses %s in the words of the protocol, without asking a server', async (_what, value, http) => {
    const server = await add();
    use([server.address]);
    expect((await infer(value)).status).toBe(http);
    expect(server.seen).toEqual([]);
  });

  test('is not asked, and not blamed, for a request that is larger than a message may be', async () => {
    await gateway.close();
    gateway = await startTestGateway({ grpcMessageBytesMax: 4_096 });
    const both = [await add(), await add()];
    use(both.map(({ address }) => address));
    const data = Array.from({ length: 8_192 }, () => 1);
    const answer = await infer({ inputs: [{ name: 'x', datatype: 'INT8', shape: [8_192], data }] });
    expect([answer.status, answer.body]).toEqual([413, { error: expect.stringContaining('larger') }]);
    expect(answer.headers.get('x-muster-attempts')).toBeNull();
    expect(both.flatMap(({ seen }) => seen)).toEqual([]);
    expect((await get(`${gateway.url}/metrics`)).text).not.toContain('kind="garbage"');
  });

  test('is not blamed for an answer that is larger than a message may be, and no other is asked', async () => {
    await gateway.close();
    gateway = await startTestGateway({ grpcMessageBytesMax: 4_096 });
    const both = await Promise.all(
      [1, 2].map(() =>
        startGrpcServer((_method, { id }) => (id === 'small' ? undefined : { id: 'x'.repeat(8_192) })),
      ),
    );
    servers.push(...both);
    use(both.map(({ address }) => address));
    const answer = await infer();
    expect([answer.status, answer.body]).toEqual([
      413,
      { error: expect.stringContaining('answer is larger') },
    ]);
    expect(both.flatMap(({ seen }) => seen)).toHaveLength(1);
    expect((await infer({ ...body, id: 'small' })).status).toBe(200);
    expect((await get(`${gateway.url}/metrics`)).text).not.toContain('kind="garbage"');
  });

  test('has nothing of what gRPC has not', async () => {
    use([(await add()).address]);
    expect((await postJson(`${gateway.url}/v2/models/m/generate`, {})).status).toBe(501);
    expect((await get(`${gateway.url}/v2/models/m/config`)).status).toBe(501);
    expect((await postJson(`${gateway.url}/v1/models/m:predict`, {})).status).toBe(400);
  });

  test('goes on with another server when one is gone, and tells when all are', async () => {
    const gone = await add();
    const alive = await add();
    gone.close();
    use([gone.address, alive.address]);
    for (let at = 0; at < 6; at += 1) expect((await infer()).status).toBe(200);
    alive.close();
    const answer = await infer();
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).not.toBeNull();
  });

  test('goes on with another server when one makes no connection in time, and tells when none does', async () => {
    await gateway.close();
    gateway = await startTestGateway({ connectMs: 100, skipMs: 0, triesMax: 2 });
    const silent = await startRawBackend(() => undefined);
    const address = silent.address.replace('http:', 'grpc:');
    try {
      use([address, (await add()).address]);
      for (let at = 0; at < 6; at += 1) expect((await infer()).status).toBe(200);
      expect(silent.received.length).toBeGreaterThan(0);
      use([address]);
      const answer = await infer();
      expect([answer.status, answer.text]).toEqual([503, expect.stringContaining('CONNECT_TIMEOUT')]);
    } finally {
      await silent.close();
    }
  });

  test('may think for longer than a connection may take', async () => {
    await gateway.close();
    gateway = await startTestGateway({ connectMs: 300 });
    const server = await add(() => null);
    use([server.address], { timeoutMs: 1_200 });
    expect((await infer()).status).toBe(504);
    expect(server.seen).toHaveLength(1);
  });

  test('is asked itself, whatever proxy the environment names', async () => {
    const proxy = await startRawBackend((socket) => {
      socket.destroy();
    });
    const environment = { ...process.env };
    for (const name of ['no_proxy', 'no_grpc_proxy']) Reflect.deleteProperty(process.env, name);
    for (const name of ['http_proxy', 'https_proxy', 'grpc_proxy']) process.env[name] = proxy.address;
    try {
      use([(await add()).address]);
      expect((await infer()).status).toBe(200);
      expect(proxy.received).toEqual([]);
    } finally {
      process.env = environment;
      await proxy.close();
    }
  });

  test('is asked again once when the connection breaks under a request', async () => {
    let breaks = 1;
    const server: FakeGrpcServer = await add(() => {
      if (breaks === 0) return undefined;
      breaks -= 1;
      server.close();
      return null;
    });
    const other = await add();
    use([server.address, other.address]);
    for (let at = 0; at < 4; at += 1) expect((await infer()).status).toBe(200);
    expect(other.seen.length + server.seen.length).toBe(breaks === 0 ? 5 : 4);
  });

  test('gives up in the time of the service, and cancels the call', async () => {
    const server = await add(() => null);
    use([server.address], { timeoutMs: 100 });
    expect((await infer()).status).toBe(504);
    expect(server.seen).toHaveLength(1);
  });

  test('cancels the call when the client leaves', async () => {
    const server = await add(() => null);
    use([server.address]);
    const leaving = new AbortController();
    const asked = fetch(`${gateway.url}/v2/models/m/infer`, {
      method: 'POST',
      body: JSON.stringify(body),
      signal: leaving.signal,
    }).catch(() => null);
    await until(() => server.seen.length === 1);
    leaving.abort();
    await asked;
    await until(async () =>
      (await get(`${gateway.url}/metrics`)).text.includes('muster_gateway_in_flight 1'),
    );
  });

  test('that is no gRPC server at all is told as 502', async () => {
    const raw = await startRawBackend((socket) => {
      socket.write('HTTP/1.1 400 Bad Request\r\n\r\n');
    });
    use([raw.address.replace('http:', 'grpc:')]);
    const answer = await infer();
    expect([502, 503]).toContain(answer.status);
    await raw.close();
  });

  test.each(['identity', 'snappy'])(
    'says that it compressed its answer, and by %s: 502, and another server is asked',
    async (encoding) => {
      let asked = 0;
      const strange = createServer().on('stream', (stream: ServerHttp2Stream) => {
        asked += 1;
        const head = { ':status': 200, 'content-type': 'application/grpc', 'grpc-encoding': encoding };
        stream.on('error', () => undefined).resume();
        stream.respond(head, { waitForTrailers: true });
        stream.on('wantTrailers', () => {
          stream.sendTrailers({ 'grpc-status': 0 });
        });
        stream.end(framed(Buffer.from('abcd'), { isCompressed: true }));
      });
      await new Promise<void>((resolve) => strange.listen(0, '127.0.0.1', resolve));
      const address = `grpc://127.0.0.1:${(strange.address() as AddressInfo).port}`;
      use([address]);
      const answer = await infer();
      expect([answer.status, answer.body]).toEqual([
        502,
        { error: expect.stringContaining("The server's answer cannot be read: it is compressed") },
      ]);
      use([address, (await add()).address]);
      const before = asked;
      // Which of the two is asked first is a matter of chance.
      for (let at = 0; at < 60 && asked === before; at += 1) expect((await infer()).status).toBe(200);
      expect(asked).toBeGreaterThan(before);
      strange.close();
    },
  );

  test('says something that is no answer of V2: 502', async () => {
    const strange: Fields = {
      model_name: 'm',
      outputs: [{ name: 'x', datatype: 'FP32', shape: [3] }],
      raw_output_contents: [Buffer.alloc(4)],
    };
    use([(await add((method) => (method === 'ModelInfer' ? strange : undefined))).address]);
    const answer = await infer();
    expect([answer.status, answer.body]).toEqual([
      502,
      { error: expect.stringContaining("The server's answer cannot be read:") },
    ]);
  });
});
