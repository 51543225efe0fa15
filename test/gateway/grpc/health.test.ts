import { EventEmitter } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from '@jest/globals';
import { healthService } from '../../../gateway/grpc/health.ts';
import type { Fields } from '../../../gateway/grpc/schema.ts';
import type { GatewayLimits } from '../../../gateway/limits.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { GrpcFront } from '../../fixtures/grpc/grpc-front.ts';
import { RawClients, framed } from '../../fixtures/grpc/raw-client.ts';
import type { RawCall, RawClient } from '../../fixtures/grpc/raw-client.ts';
import { failure } from '../../fixtures/grpc/servers.ts';

const front = new GrpcFront();

describe('grpc.health.v1', () => {
  test('tells readiness, and nothing of services that are not here', async () => {
    await front.startM();
    expect((await front.client.ask('Check', { service: '' })).fields).toMatchObject({ status: 1 });
    const named = { service: 'inference.GRPCInferenceService' };
    expect((await front.client.ask('Check', named)).fields).toMatchObject({ status: 1 });
    expect((await failure(front.client.ask('Check', { service: 'other' }))).code).toBe(status.NOT_FOUND);
  });

  test('tells a watcher when the gateway begins to stop', async () => {
    await front.startM();
    const watch = front.client.watch('');
    const told: unknown[] = [];
    watch.on('data', ({ status: value }: Fields) => told.push(value));
    watch.on('error', () => undefined);
    await until(() => told.length === 1);
    front.gateway.drain();
    await until(() => told.length === 2);
    expect(told).toEqual([1, 2]);
    watch.cancel();
  });

  test('sends watchers away when it stops, and so does not wait for them', async () => {
    await front.startM();
    const told: unknown[] = [];
    const watch = front.client.watch('');
    watch.on('data', ({ status: value }: Fields) => told.push(value));
    watch.on('error', ({ code }: ServiceError) => told.push({ code }));
    await until(() => told.length === 1);
    const stopped = front.grpc.stop();
    await until(() => told.length === 3);
    expect(told).toEqual([1, 2, { code: status.UNAVAILABLE }]);
    await stopped;
  });
});

test('readiness is asked once for all who watch, and no more when they left', async () => {
  const answers: ((isReady: boolean) => void)[] = [];
  const { implementation } = healthService({
    isReady: () => new Promise((resolve) => answers.push(resolve)),
    everyMs: 5,
  });
  const watchers = ['', '', 'inference.GRPCInferenceService', 'other'].map((name) => {
    const told: unknown[] = [];
    const write = ({ status: value }: Fields) => told.push(value);
    const call = Object.assign(new EventEmitter(), { request: { service: name }, write });
    (implementation['Watch'] as (call: unknown) => void)(call);
    return { told, call };
  });
  const told = () => watchers.map((watcher) => watcher.told);
  for (const [isReady, value] of [
    [true, 1],
    [false, 2],
  ] as const) {
    await until(() => answers.length === 1);
    await setTimeout(20); // several turns of its timer
    expect(answers).toHaveLength(1);
    answers.pop()?.(isReady);
    await until(() => told()[0]?.includes(value) === true);
  }
  expect(told()).toEqual([[1, 2], [1, 2], [1, 2], [3]]);
  for (const { call } of watchers) call.emit('close');
  for (const answer of answers.splice(0)) answer(true);
  await setTimeout(20);
  expect(answers).toHaveLength(0);
});

describe('a probe of grpc.health.v1', () => {
  const clients = new RawClients();
  afterEach(() => {
    clients.leave();
  });
  const start = (limits: Partial<GatewayLimits>) =>
    front.start([service('m', { ready: [front.backend.address] })], limits);
  const open = () => clients.open(front.grpc.port);
  const half = (client: RawClient, method: string, path = `/inference.GRPCInferenceService/${method}`) => {
    const call = client.begin(method, { ':path': path });
    call.stream.resume();
    call.stream.write(framed(Buffer.alloc(700), { length: 1_000_000 }));
    return call;
  };
  const halfCheck = (client: RawClient) => half(client, 'Check', '/grpc.health.v1.Health/Check');
  const isFull = ({ status: code }: RawCall) => code === status.RESOURCE_EXHAUSTED;
  const metric = (name: string) => front.metric(name);

  test.each<[string, Partial<GatewayLimits>]>([
    ['bytes', { bodiesBytesMax: 20_000 }],
    ['calls', { grpcCallsMax: 20 }],
  ])('is answered while half messages hold all the %s that there may be', async (_what, limits) => {
    await start(limits);
    const calls = [open(), open()].flatMap((client) =>
      Array.from({ length: 20 }, () => half(client, 'ModelInfer')),
    );
    await until(() => calls.filter(isFull).length >= 10);
    expect((await front.client.ask('Check', { service: '' })).fields).toMatchObject({ status: 1 });
    const watch = front.client.watch('');
    const told: unknown[] = [];
    watch.on('data', ({ status: value }: Fields) => told.push(value));
    watch.on('error', () => undefined);
    await until(() => told.length === 1);
    watch.cancel();
    expect((await get(`${front.gateway.url}/v2/health/ready`)).status).toBe(200);
  });

  test('takes a few KiB and no more, and none of the room of the others', async () => {
    await start({ bodiesBytesMax: 20_000 });
    const small = halfCheck(open());
    await until(async () => (await metric('calls')) === 1);
    expect(await metric('request_bytes')).toBe(0);
    small.stream.write(Buffer.alloc(5_000));
    await until(() => isFull(small) && small.isClosed);
    const asked = front.client.ask('Check', { service: 'x'.repeat(5_000) });
    expect((await failure(asked)).code).toBe(status.RESOURCE_EXHAUSTED);
    await until(async () => (await metric('calls')) === 0);
    expect(await metric('request_bytes')).toBe(0);
  });

  test('has its time', async () => {
    await start({ requestReadMs: 100, lingerMs: 100 });
    const call = halfCheck(open());
    await until(() => call.status === status.DEADLINE_EXCEEDED && call.isClosed);
    expect(await metric('calls_late_total')).toBe(1);
  });

  test('is a call as any other where its connection has eight of them already', async () => {
    await start({ grpcCallsMax: 2 });
    const client = open();
    const calls = Array.from({ length: 11 }, () => halfCheck(client));
    await until(() => calls.some(isFull));
    expect(calls.map(isFull)).toEqual(calls.map((_call, at) => at === 10));
    expect(await metric('request_bytes')).toBeGreaterThan(2 * 700);
    expect((await front.client.ask('Check', { service: '' })).fields).toMatchObject({ status: 1 });
    calls[0]?.stream.close();
    await until(async () => (await metric('calls')) === 9);
    const next = halfCheck(client);
    await until(async () => (await metric('calls')) === 10);
    expect(next.status).toBeNull();
  });
});
