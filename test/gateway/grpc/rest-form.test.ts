import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Fields } from '../../../gateway/grpc/schema.ts';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { startGrpcServer } from '../../fixtures/grpc/servers.ts';
import type { FakeGrpcServer } from '../../fixtures/grpc/servers.ts';

const body = { inputs: [{ name: 'x', datatype: 'FP32', shape: [1], data: [1] }] };

describe('a REST request to servers that speak gRPC alone', () => {
  let gateway: TestGateway;
  let servers: FakeGrpcServer[];
  let answer: Fields | undefined;

  beforeEach(async () => {
    answer = undefined;
    gateway = await startTestGateway();
    const start = () => startGrpcServer((method) => (method === 'ModelInfer' ? answer : undefined));
    servers = [await start(), await start()];
    gateway.use([service('m', { ready: servers.map(({ address }) => address), protocols: ['grpc-v2'] })]);
  });
  afterEach(async () => {
    await gateway.close();
    for (const server of servers) server.close();
  });

  const infer = (value: unknown = body) => postJson(`${gateway.url}/v2/models/m/infer`, value);
  const calls = () => servers.reduce((sum, { seen }) => sum + seen.length, 0);
  const answering = (datatype: string, bytes: readonly number[]) => ({
    model_name: 'm',
    outputs: [{ name: 'y', datatype, shape: [1] }],
    raw_output_contents: [Buffer.from(bytes)],
  });

  test.each([
    [
      'FP16',
      [0, 0x3c],
      "Sending FP16 data via JSON is not supported. Please use the binary data format for output 'y'",
    ],
    [
      'BYTES',
      [2, 0, 0, 0, 0xff, 0xfe],
      "The bytes of output 'y' are not UTF-8 text: ask for it in the binary data format.",
    ],
  ])(
    "for JSON that cannot say the answer's %s is refused, and no server is blamed",
    async (type, bytes, error) => {
      answer = answering(type, bytes);
      for (let at = 0; at < 12; at += 1) {
        const told = await infer();
        expect([told.status, told.body]).toEqual([400, { error }]);
      }
      expect(calls()).toBe(12);
      const metrics = (await get(`${gateway.url}/metrics`)).text.split('\n');
      expect(metrics.filter((line) => /_ejections_total\{.*\} [1-9]/.test(line))).toEqual([]);
      expect((await infer({ ...body, parameters: { binary_data_output: true } })).status).toBe(200);
    },
  );

  test('for an output that the answer has not is refused, and no server is blamed', async () => {
    answer = answering('UINT8', [1]);
    const told = await infer({ ...body, outputs: [{ name: 'z' }] });
    expect([told.status, told.body]).toEqual([
      400,
      { error: "Unexpected inference output 'z' for model 'm'" },
    ]);
    expect(calls()).toBe(1);
  });

  test('is told as 502 when the answer itself is wrong, and another server is asked', async () => {
    answer = answering('FP32', [1]);
    const told = await infer();
    expect([told.status, told.body]).toEqual([
      502,
      {
        error: expect.stringContaining("The server's answer cannot be read: 1 elements of FP32 need 4 bytes"),
      },
    ]);
    expect(calls()).toBe(2);
  });

  test('is told as 502 when a parameter of the answer is no number of JSON', async () => {
    answer = { ...answering('UINT8', [1]), parameters: { score: { double_param: NaN } } };
    const told = await infer();
    expect([told.status, told.body]).toEqual([502, { error: expect.stringContaining("'score' is NaN") }]);
  });

  test('that is compressed is told as 415, and no server is asked', async () => {
    const send = (encoding: string, bytes: Buffer) =>
      fetch(`${gateway.url}/v2/models/m/infer`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'content-encoding': encoding },
        body: new Uint8Array(bytes),
      });
    const plain = Buffer.from(JSON.stringify(body));
    const told = await send('gzip', gzipSync(plain));
    expect(told.status).toBe(415);
    expect(await told.json()).toEqual({
      error: "Send the body without content-encoding: 'gzip' is not read for servers that speak gRPC.",
    });
    expect(calls()).toBe(0);
    expect((await send('Identity', plain)).status).toBe(200);
  });
});
