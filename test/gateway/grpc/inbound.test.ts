import { once } from 'node:events';
import { connect } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { deflateSync, gzipSync } from 'node:zlib';
import { status } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from '@jest/globals';
import { codec } from '../../../gateway/grpc/schema.ts';
import type { Fields } from '../../../gateway/grpc/schema.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { GrpcFront, raw } from '../../fixtures/grpc/grpc-front.ts';
import { RawClient, frame, framed, opening } from '../../fixtures/grpc/raw-client.ts';

const front = new GrpcFront();
const request = codec('ModelInferRequest');
const response = codec('ModelStreamInferResponse');
const compressed = { isCompressed: true };

describe('what comes in a call', () => {
  let client: RawClient | null = null;
  afterEach(() => {
    client?.leave();
    client = null;
  });
  const begin = (method: string, encoding: string) => {
    client ??= new RawClient(front.grpc.port);
    return client.begin(method, { 'grpc-encoding': encoding });
  };

  test.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
  ])('is unpacked from %s, and read in its order among plain messages', async (encoding, pack) => {
    await front.startM();
    const { stream } = begin('ModelStreamInfer', encoding);
    const parts: Buffer[] = [];
    stream.on('data', (part: Buffer) => parts.push(part));
    const ids = Array.from({ length: 30 }, (_none, at) => `r${at}`);
    const messages = ids.map((id, at) => {
      const bytes = request.encode({ ...raw(id), parameters: { p: { string_param: 'x'.repeat(at * 100) } } });
      return at % 3 === 0 ? framed(bytes) : framed(pack(bytes), compressed);
    });
    stream.end(Buffer.concat(messages));
    await once(stream, 'end');
    expect(idsIn(Buffer.concat(parts))).toEqual(ids);
  });

  test.each([
    ['what was not packed', 'gzip', framed(Buffer.from('words'), compressed), status.INTERNAL],
    ['what is cut', 'gzip', framed(gzipSync(Buffer.alloc(500)).subarray(0, 20), compressed), status.INTERNAL],
    ['what it cannot unpack', 'snappy', framed(Buffer.from('words'), compressed), status.UNIMPLEMENTED],
    [
      'what gets larger than a message may be',
      'gzip',
      framed(gzipSync(Buffer.alloc(5_000)), compressed),
      status.RESOURCE_EXHAUSTED,
    ],
    [
      'what is said to be larger than a message may be',
      'gzip',
      framed(gzipSync(Buffer.alloc(10)), { ...compressed, length: 5_000 }),
      status.RESOURCE_EXHAUSTED,
    ],
  ])('is refused: %s', async (_what, encoding, bytes, code) => {
    await front.start([service('m', { ready: [front.backend.address] })], { grpcMessageBytesMax: 4_096 });
    for (const method of ['ModelInfer', 'ModelStreamInfer']) {
      const call = begin(method, encoding);
      call.stream.resume();
      call.stream.write(bytes);
      await until(() => call.status !== null);
      expect(call.status).toBe(code);
    }
    await until(async () =>
      (await get(`${front.gateway.url}/metrics`)).text.includes('muster_gateway_grpc_request_bytes 0'),
    );
  });

  test('keeps no more than its own bytes of all that was read with them', async () => {
    await front.startM();
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const held = () => {
      collect();
      return process.memoryUsage().arrayBuffers;
    };
    const socket = connect(front.grpc.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.resume();
    socket.write(opening('ModelInfer'));
    socket.write(frame(0, 0, 1, framed(Buffer.alloc(1), { length: 100_000 })));
    const before = held();
    const unknown = frame(0xfa, 0, 0, Buffer.alloc(16_384));
    const crumb = Buffer.concat([unknown, unknown, unknown, frame(0, 0, 1, Buffer.alloc(1))]);
    for (let at = 0; at < 400; at += 1) {
      if (!socket.write(crumb)) await once(socket, 'drain');
    }
    await until(async () => {
      const { text } = await get(`${front.gateway.url}/metrics`);
      return Number(/^muster_gateway_grpc_request_bytes (.+)$/m.exec(text)?.[1]) >= 400 * 257; // all have come
    });
    await until(() => held() - before < 5_000_000); // of 20 MB that were sent
    socket.destroy();
  });
});

function idsIn(bytes: Buffer): unknown[] {
  const ids: unknown[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = at + 5 + bytes.readUInt32BE(at + 1);
    const { infer_response: answer } = response.decode(bytes.subarray(at + 5, end));
    ids.push((answer as Fields)['id']);
    at = end;
  }
  return ids;
}
