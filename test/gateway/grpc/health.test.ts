import { status } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import type { Fields } from '../../../gateway/grpc/schema.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { GrpcFront } from '../../fixtures/grpc/grpc-front.ts';
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
