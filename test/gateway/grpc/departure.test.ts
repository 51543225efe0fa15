import { status } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from '@jest/globals';
import { codec } from '../../../gateway/grpc/schema.ts';
import type { GatewayLimits } from '../../../gateway/limits.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { GrpcFront, raw } from '../../fixtures/grpc/grpc-front.ts';
import { RawClients, framed } from '../../fixtures/grpc/raw-client.ts';
import { identity } from '../../fixtures/grpc/servers.ts';

const front = new GrpcFront();
const kib = 1_024;
const large = 1_024 * kib;
const request = framed(codec('ModelInferRequest').encode(raw()));

describe('an answer whose client takes nothing of it', () => {
  const clients = new RawClients();
  afterEach(() => {
    clients.leave();
  });
  const start = (limits: Partial<GatewayLimits>) => {
    front.respond = (_seen, response) => {
      const datum = { name: 'x', datatype: 'UINT8', shape: [large] };
      const head = Buffer.from(
        JSON.stringify({ model_name: 'm', outputs: [{ ...datum, parameters: { binary_data_size: large } }] }),
      );
      response.writeHead(200, {
        'content-type': 'application/octet-stream',
        'inference-header-content-length': head.length,
        'content-length': head.length + large,
      });
      response.end(Buffer.concat([head, Buffer.alloc(large, 7)]));
    };
    return front.start([service('m', { ready: [front.backend.address] })], limits);
  };
  const open = () => clients.open(front.grpc.port);

  test.each(['ModelInfer', 'ModelStreamInfer'])('is given up in %s, on a live connection', async (method) => {
    await start({ clientStallMs: 300 });
    const client = open();
    const call = client.begin(method);
    call.stream.write(request);
    if (method === 'ModelInfer') call.stream.end();
    await until(async () => (await front.metric('calls')) === 1);
    await until(async () => (await front.metric('calls_stalled_total')) === 1);
    await until(() => call.isClosed);
    expect(call.stream.rstCode).toBe(8); // CANCEL
    expect(await front.metric('calls')).toBe(0);
    front.respond = identity;
    const next = client.begin('ModelInfer');
    next.stream.end(request);
    next.stream.resume();
    await until(() => next.status === status.OK);
    expect(await front.metric('calls_stalled_total')).toBe(1);
  });

  test('is waited for while a stream takes one message after the other, slowly', async () => {
    await start({ clientStallMs: 4_000 });
    const call = open().begin('ModelStreamInfer');
    let bytes = 0;
    call.stream.on('data', (chunk: Buffer) => {
      const before = Math.floor(bytes / large);
      bytes += chunk.length;
      if (Math.floor(bytes / large) === before) return;
      call.stream.pause();
      setTimeout(() => call.stream.resume(), 1_500);
    });
    for (let at = 0; at < 4; at += 1) call.stream.write(request);
    call.stream.end();
    await until(() => call.status === status.OK);
    expect(bytes).toBeGreaterThan(4 * large);
    expect(await front.metric('calls_stalled_total')).toBe(0);
  });

  test('may be long in coming: a client that waits has not stalled', async () => {
    await start({ clientStallMs: 100 });
    front.respond = (seen, response) => {
      setTimeout(() => {
        identity(seen, response);
      }, 500);
    };
    const call = open().begin('ModelInfer');
    call.stream.end(request);
    call.stream.resume();
    await until(() => call.status === status.OK);
  });
});
