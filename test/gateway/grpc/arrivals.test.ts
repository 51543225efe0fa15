import { gzipSync } from 'node:zlib';
import { status } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from '@jest/globals';
import { codec } from '../../../gateway/grpc/schema.ts';
import type { GatewayLimits } from '../../../gateway/limits.ts';
import { newKey, useAccess } from '../../fixtures/access/keys.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { GrpcFront, raw } from '../../fixtures/grpc/grpc-front.ts';
import { RawClients, framed } from '../../fixtures/grpc/raw-client.ts';
import { failure, identity } from '../../fixtures/grpc/servers.ts';

const front = new GrpcFront();
const kib = 1_024;
const inferRequest = codec('ModelInferRequest');

describe('what has come of a call and is not served yet', () => {
  const clients = new RawClients();
  afterEach(() => {
    clients.leave();
  });
  const start = (limits: Partial<GatewayLimits>) =>
    front.start([service('m', { ready: [front.backend.address] })], limits);
  const open = () => clients.open(front.grpc.port);
  const metric = (name: string) => front.metric(name);

  test('is bounded over all connections: half messages beyond it are refused, and their bytes are free again', async () => {
    await start({ bodiesBytesMax: 200 * kib });
    const calls = [open(), open()].flatMap((client) =>
      Array.from({ length: 8 }, () => client.begin('ModelInfer')),
    );
    for (const { stream } of calls) stream.write(framed(Buffer.alloc(30 * kib), { length: 1_000 * kib }));
    await until(() => calls.filter(({ status: code }) => code !== null).length >= 10);
    const refused = calls.filter(({ status: code }) => code === status.RESOURCE_EXHAUSTED);
    await until(() => refused.every(({ isClosed }) => isClosed));
    expect(await metric('request_bytes')).toBeLessThanOrEqual(200 * kib);
    expect(await metric('calls_refused_total')).toBe(refused.length);
    clients.leave();
    await until(async () => (await metric('request_bytes')) === 0);
    expect((await front.client.ask('ModelInfer', raw())).fields).toMatchObject({ id: 'r1' });
  });

  test('has a part of it for strangers: who has no key takes no room from those who have one', async () => {
    const { key, record } = newKey();
    await start({ bodiesBytesMax: 300 * kib, strangersBytesMax: 100 * kib });
    useAccess(front.gateway, [service('m', { ready: [front.backend.address] })], {
      mode: 'required',
      keys: [record],
    });
    const client = open();
    const half = framed(Buffer.alloc(30 * kib), { length: 1_000 * kib });
    const strange = Array.from({ length: 8 }, () => client.begin('ModelInfer'));
    for (const { stream } of strange) stream.write(half);
    await until(() => strange.filter(({ status: code }) => code === status.RESOURCE_EXHAUSTED).length >= 5);
    expect(await metric('request_bytes')).toBeLessThanOrEqual(100 * kib);
    const authorization = `Bearer ${key}`;
    const known = client.begin('ModelInfer', { authorization });
    known.stream.write(framed(Buffer.alloc(120 * kib), { length: 1_000 * kib }));
    await until(async () => (await metric('request_bytes')) > 120 * kib);
    const good = client.begin('ModelInfer', { authorization });
    good.stream.end(framed(inferRequest.encode(raw())));
    good.stream.resume();
    await until(() => good.status === status.OK);
    expect(known.status).toBeNull();
    client.leave();
    await until(async () => (await metric('request_bytes')) === 0);
  });

  test('counts whole messages of calls whose side the client does not end', async () => {
    await start({ bodiesBytesMax: 100 * kib });
    const client = open();
    const message = framed(inferRequest.encode({ ...raw(), id: 'x'.repeat(20 * kib) }));
    const calls = Array.from({ length: 6 }, () => client.begin('ModelInfer'));
    for (const { stream } of calls) stream.write(message);
    await until(() => calls.some(({ status: code }) => code === status.RESOURCE_EXHAUSTED));
    const unfinished = calls.filter(({ status: code }) => code === null);
    for (const { stream } of unfinished) stream.end();
    await until(() => unfinished.every(({ status: code }) => code !== null));
    expect(unfinished.map(({ status: code }) => code)).toEqual(unfinished.map(() => status.OK));
  });

  test('counts the messages of a stream that is not read on, and gives back what is served', async () => {
    let isHeld = true;
    const waiting: (() => void)[] = [];
    front.respond = (seen, response) => {
      const answer = () => {
        identity(seen, response);
      };
      if (isHeld) waiting.push(answer);
      else answer();
    };
    await start({ grpcStreamWidth: 1 });
    const { stream } = open().begin('ModelStreamInfer');
    stream.resume();
    const message = framed(inferRequest.encode({ ...raw(), id: 'x'.repeat(5 * kib) }));
    for (let at = 0; at < 5; at += 1) stream.write(message);
    await until(async () => (await metric('request_bytes')) > 25 * kib);
    isHeld = false;
    await until(() => waiting.length === 1);
    waiting[0]?.();
    await until(async () => (await metric('request_bytes')) === 0);
    expect(front.backend.seen).toHaveLength(5);
    stream.end();
  });

  test('counts messages by their size without compression', async () => {
    await start({ bodiesBytesMax: 300 * kib });
    const client = open();
    const bytes = gzipSync(inferRequest.encode({ ...raw(), id: 'x'.repeat(400 * kib) }));
    const bomb = client.begin('ModelInfer', { 'grpc-encoding': 'gzip' });
    bomb.stream.write(framed(bytes, { isCompressed: true }));
    await until(() => bomb.status === status.RESOURCE_EXHAUSTED);
    const small = gzipSync(inferRequest.encode(raw()));
    const good = client.begin('ModelInfer', { 'grpc-encoding': 'gzip' });
    good.stream.end(framed(small, { isCompressed: true }));
    good.stream.resume();
    await until(() => good.status === status.OK);
  });

  test('costs something even where it is empty', async () => {
    await start({ bodiesBytesMax: 1_000 * kib });
    const call = open().begin('ModelStreamInfer');
    call.stream.write(Buffer.alloc(5 * 3_000)); // 3,000 empty messages
    call.stream.resume();
    await until(() => call.status === status.RESOURCE_EXHAUSTED);
  });

  test.each(['ModelInfer', 'ModelStreamInfer'])(
    'has its time in %s, also when it trickles',
    async (method) => {
      await start({ requestReadMs: 300, lingerMs: 100 });
      const call = open().begin(method);
      call.stream.write(framed(Buffer.alloc(10), { length: 1_000 * kib }));
      const trickle = setInterval(() => {
        if (!call.isClosed) call.stream.write('x');
      }, 20);
      await until(() => call.status === status.DEADLINE_EXCEEDED);
      await until(() => call.isClosed);
      clearInterval(trickle);
      expect(await metric('calls_late_total')).toBe(1);
      expect(await metric('calls')).toBe(0);
      expect(await metric('request_bytes')).toBe(0);
    },
  );

  test.each([
    ['compressed', true],
    ['plain', false],
  ])(
    'has its time where it came in one write with a whole message that is %s',
    async (_what, isCompressed) => {
      await start({ requestReadMs: 300, lingerMs: 100 });
      const call = open().begin('ModelStreamInfer', { 'grpc-encoding': 'gzip' });
      call.stream.resume();
      const bytes = inferRequest.encode(raw());
      const message = framed(isCompressed ? gzipSync(bytes) : bytes, { isCompressed });
      call.stream.write(Buffer.concat([message, framed(Buffer.alloc(10 * kib), { length: 1_000 * kib })]));
      await until(() => call.status === status.DEADLINE_EXCEEDED);
      await until(() => call.isClosed);
      expect(front.backend.seen).toHaveLength(1);
      expect(await metric('calls_late_total')).toBe(1);
      expect(await metric('request_bytes')).toBe(0);
    },
  );

  test('may be long in coming between the messages of a stream', async () => {
    await start({ requestReadMs: 100 });
    const stream = front.client.stream();
    let count = 0;
    stream.on('data', () => (count += 1));
    for (const wanted of [1, 2]) {
      await new Promise((resolve) => setTimeout(resolve, 400));
      stream.write(raw());
      await until(() => count === wanted);
    }
    stream.end();
    expect(await metric('calls_late_total')).toBe(0);
  });

  test('is thrown away for a moment after the status; then the stream is closed', async () => {
    await start({ lingerMs: 100 });
    const call = open().begin('ModelInfer', { 'grpc-timeout': '50m' });
    call.stream.write(framed(Buffer.alloc(10), { length: 1_000 }));
    await until(() => call.status === status.DEADLINE_EXCEEDED);
    await until(() => call.isClosed);
    expect(await metric('request_bytes')).toBe(0);
  });
});

describe('the gRPC port', () => {
  const clients = new RawClients();
  afterEach(() => {
    clients.leave();
  });
  const open = () => clients.open(front.grpc.port);
  const text = async () => (await get(`${front.gateway.url}/metrics`)).text;

  test('serves as many calls at once as it may, of all connections', async () => {
    await front.start([service('m', { ready: [front.backend.address] })], { grpcCallsMax: 3 });
    const held = [open(), open(), open()].map((client) => client.begin('ModelInfer'));
    await until(async () => (await text()).includes('muster_gateway_grpc_calls 3'));
    const failed = await failure(front.client.ask('ServerLive', {}));
    expect([failed.code, failed.details]).toEqual([
      status.RESOURCE_EXHAUSTED,
      expect.stringContaining('try again'),
    ]);
    expect(await text()).toContain(
      'muster_gateway_grpc_calls_total{method="ServerLive",code="RESOURCE_EXHAUSTED"} 1',
    );
    held[0]?.stream.close();
    await until(async () => (await text()).includes('muster_gateway_grpc_calls 2'));
    expect((await front.client.ask('ServerLive', {})).fields).toMatchObject({ live: true });
  });

  test('closes connections beyond as many as it may have, and counts them', async () => {
    await front.start([service('m', { ready: [front.backend.address] })], { grpcConnectionsMax: 2 });
    const first = open();
    open();
    await Promise.all(clients.all.map((client) => client.ready()));
    expect((await failure(front.client.ask('ServerLive', {}))).code).toBe(status.UNAVAILABLE);
    expect(await text()).toMatch(/muster_gateway_grpc_connections_dropped_total [1-9]/);
    expect(await text()).toContain('muster_gateway_grpc_connections 2');
    first.leave();
    await until(async () => {
      const asked = front.client.ask('ServerLive', {}, {}, { deadline: Date.now() + 1_000 });
      return asked.then(
        () => true,
        () => false,
      );
    });
  });
});
