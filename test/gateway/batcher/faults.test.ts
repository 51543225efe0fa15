import type { Socket } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { startRawBackend } from '../../fixtures/gateway/backends.ts';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

function answerTo(request: string): string {
  const { instances } = JSON.parse(request.slice(request.indexOf('\r\n\r\n') + 4)) as { instances: number[] };
  const body = JSON.stringify({ predictions: instances.map((n) => 2 * n) });
  return `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
}

/** The request's body is whole. */
function isWhole(request: string): boolean {
  const head = request.indexOf('\r\n\r\n');
  const length = /content-length: (\d+)/i.exec(request)?.[1];
  return head > 0 && request.length - head - 4 >= Number(length);
}

describe('a batch whose server is lost', () => {
  let gateway: TestGateway | undefined;
  let backend: Awaited<ReturnType<typeof startRawBackend>> | undefined;
  afterEach(async () => {
    await gateway?.close();
    await backend?.close();
  });

  test('at any byte of its answer costs no request its own answer', async () => {
    const whole = answerTo('\r\n\r\n{"instances":[1,2]}').length;
    let cutAt = 0;
    let batches = 0;
    const begun = new WeakMap<Socket, number>();
    backend = await startRawBackend((socket, received) => {
      const from = begun.get(socket) ?? 0;
      const request = received.toString().slice(from);
      if (!isWhole(request)) return;
      begun.set(socket, from + request.length);
      const answer = answerTo(request);
      if (!request.includes('[1,2]') && !request.includes('[2,1]')) socket.write(answer);
      else {
        batches += 1;
        socket.write(answer.slice(0, cutAt), () => socket.resetAndDestroy());
      }
    });
    const batcher = { maxBatchSize: 2, maxLatencyMs: 5_000, timeoutMs: 5_000 };
    gateway = await startTestGateway({}, [service('m', { ready: [backend.address], batcher })]);
    const { url } = gateway;
    const predict = (n: number) => postJson(`${url}/v1/models/m:predict`, { instances: [n] });
    for (cutAt = 0; cutAt < whole; cutAt += 3) {
      const answers = await Promise.all([predict(1), predict(2)]);
      expect(answers.map(({ status, body }) => [status, body])).toEqual([
        [200, { predictions: [2] }],
        [200, { predictions: [4] }],
      ]);
    }
    expect(batches).toBeGreaterThanOrEqual(whole / 3);
    const { text } = await get(`${url}/metrics`);
    expect(text).toMatch(/muster_gateway_batcher_waiting 0\n/);
    expect(text).toMatch(/muster_gateway_in_flight 1\n/);
  }, 60_000);
});
