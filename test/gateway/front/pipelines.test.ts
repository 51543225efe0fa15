import { afterEach, describe, expect, test } from '@jest/globals';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitingMax } from '../../../gateway/front/pipelines.ts';
import { dial } from '../../fixtures/front/front.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const body = '{"model":"tiny"}';
/** Node's parser reads it, as all whose length is not told beforehand. */
const chunked = (path = '/v1/completions') =>
  `POST ${path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;

async function begin(
  respond: Parameters<typeof startBackend>[0],
  limits: Parameters<typeof startTestGateway>[0] = {},
): Promise<{ backend: Backend; gateway: TestGateway; port: number }> {
  const backend = await startBackend(respond);
  closers.push(() => backend.close());
  const gateway = await startTestGateway(limits, [service('tiny', { ready: [backend.address] })]);
  closers.push(() => gateway.close());
  return { backend, gateway, port: Number(new URL(gateway.url).port) };
}

describe('requests that a client sends without waiting for answers, at node’s parser', () => {
  test('are answered in order, one after another', async () => {
    let atOnce = 0;
    let most = 0;
    const { backend, port } = await begin((_seen, response) => {
      atOnce += 1;
      most = Math.max(most, atOnce);
      const number = backend.seen.length;
      setTimeout(() => {
        atOnce -= 1;
        response.end(`{"number":${number}}`);
      }, 10);
    });
    const client = await dial(port);
    client.socket.write(Array(20).fill(chunked()).join(''));
    await until(() => client.answers().length === 20);
    const numbers = client.answers().map(({ body: text }) => (JSON.parse(text) as { number: number }).number);
    expect(numbers).toEqual(Array.from({ length: 20 }, (_, at) => at + 1));
    expect(most).toBe(1);
    client.socket.write(chunked());
    await until(() => client.answers().length === 21); // the connection is read on
    client.socket.destroy();
  });

  test('take one place of the gateway, and too many of them end their connection with a reason', async () => {
    const held: (() => void)[] = [];
    const { gateway, backend, port } = await begin((_seen, response) => {
      held.push(() => response.end('{}'));
    });
    const client = await dial(port);
    client.socket.write(chunked().repeat(500));
    await until(() => held.length === 1);
    await sleep(200);
    expect([gateway.metrics.inFlight, backend.seen.length]).toEqual([1, 1]);
    const closed = once(client.socket, 'close');
    const answering = setInterval(() => held.shift()?.(), 1);
    await closed;
    clearInterval(answering);
    const answers = client.answers();
    expect(answers).toHaveLength(waitingMax + 2);
    expect(answers.slice(0, -1).every(({ status }) => status === 200)).toBe(true);
    expect(answers.at(-1)).toMatchObject({ status: 400 });
    expect(answers.at(-1)?.body).toContain('wait on this connection');
    const { text } = await get(`${gateway.url}/metrics`);
    expect(text).toContain('muster_gateway_front_pipelines_refused_total 1\n');
    await until(() => gateway.metrics.inFlight === 0);
  });

  test('are answered also when what follows them is no request', async () => {
    const { port } = await begin((_seen, response) => setTimeout(() => response.end('{}'), 20));
    for (const rubbish of ['rubbish\r\n\r\n', chunked().replace(/\r\n\r\n[^]*/, '\r\n\r\nrubbish\r\n')]) {
      const client = await dial(port);
      client.socket.write(chunked().repeat(3) + rubbish);
      await client.closed();
      expect(client.answers().map(({ status }) => status)).toEqual([200, 200, 200, 400]);
    }
  });

  test('are all answered, however many, when they come while the first of them is being answered', async () => {
    const { backend, port } = await begin((_seen, response) =>
      setTimeout(() => response.end('{}'), backend.seen.length === 1 ? 1_000 : 0),
    );
    const client = await dial(port);
    for (let count = 0; count < 120; count += 1) {
      client.socket.write(chunked());
      await sleep(5);
    }
    await until(() => client.answers().length === 120);
    expect(client.answers().every(({ status }) => status === 200)).toBe(true);
    client.socket.destroy();
  });

  test('leave those before them alone when they are refused', async () => {
    const { port } = await begin((_seen, response) => setTimeout(() => response.end('{}'), 1_500), {
      clientStallMs: 300,
    });
    const client = await dial(port);
    client.socket.write(chunked() + chunked().replace('host: x', 'host: x\r\ncontent-type: no type'));
    await until(() => client.answers().length === 2);
    expect(client.answers().map(({ status }) => status)).toEqual([200, 400]);
    client.socket.destroy();
  });

  test('are none any more when their client has left', async () => {
    const { gateway, backend, port } = await begin(() => undefined);
    const client = await dial(port);
    client.socket.write(chunked().repeat(10));
    await until(() => backend.seen.length === 1);
    client.socket.resetAndDestroy();
    await until(() => gateway.metrics.inFlight === 0);
    await sleep(100);
    expect(backend.seen).toHaveLength(1);
  });
});

describe('a client that takes nothing of an answer that was given whole', () => {
  const megabytes = 'x'.repeat(64 * 1024 * 1024);
  const dialPaused = async (port: number): Promise<Socket> => {
    const socket = connect(port, '127.0.0.1').pause();
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    return socket;
  };

  test('is dropped after its time, also when nothing is left to be done for it', async () => {
    const { backend, gateway, port } = await begin((_seen, response) => response.end('x'.repeat(60_000)), {
      clientStallMs: 1_000,
    });
    const idle = await dialPaused(port);
    // Until the buffers of both systems are full, and one answer waits in the gateway.
    for (let before = -1; before !== backend.seen.length;) {
      before = backend.seen.length;
      if (gateway.metrics.inFlight === 0) idle.write(chunked().repeat(20));
      await sleep(300);
    }
    expect(gateway.metrics.inFlight).toBe(1);
    await until(() => gateway.metrics.inFlight === 0);
    idle.destroy();
  }, 60_000);

  test('is dropped after its time, one that takes a little each time is not', async () => {
    const { gateway, port } = await begin((_seen, response) => response.end(megabytes), {
      clientStallMs: 1_000,
    });
    const idle = await dialPaused(port);
    idle.write(chunked());
    await until(() => gateway.metrics.inFlight === 1);
    await until(() => gateway.metrics.inFlight === 0);
    idle.destroy();
    const slow = await dialPaused(port);
    let bytes = 0;
    slow.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      slow.pause();
      setTimeout(() => slow.resume(), 1);
    });
    slow.write(chunked());
    slow.resume();
    await until(() => bytes > megabytes.length);
    slow.destroy();
  }, 60_000);
});
