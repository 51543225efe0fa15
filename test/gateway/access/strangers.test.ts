import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { makeSigningKey, sign } from '../../fixtures/access/issuer.ts';
import { newKey, useAccess } from '../../fixtures/access/keys.ts';
import { echo, startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

const kib = 1024;

describe('bodies of requests whose key is not known', () => {
  let backend: Backend;
  let gateway: TestGateway;
  const sockets: Socket[] = [];
  const { key, record } = newKey();
  beforeEach(async () => {
    backend = await startBackend(echo);
    gateway = await startTestGateway({ bodiesBytesMax: 2048 * kib, strangersBytesMax: 512 * kib });
    useAccess(gateway, [service('tiny', { ready: [backend.address] })], { mode: 'required', keys: [record] });
  });
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await gateway.close();
    await backend.close();
  });

  const metric = async (name: string) =>
    Number(new RegExp(`^${name} (\\S+)$`, 'm').exec((await get(`${gateway.url}/metrics`)).text)?.[1]);
  const strangers = () => metric('muster_gateway_front_strangers_body_bytes');

  /** Sends a head that promises more, and a part of the body; the connection stays open. */
  const begin = (head: string, bytes: number): { answer(): string } => {
    const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
    sockets.push(socket);
    let answer = '';
    socket.on('data', (chunk) => (answer += chunk.toString('latin1'))).on('error', () => undefined);
    const isChunked = head.includes('chunked');
    const part = 'x'.repeat(bytes);
    socket.write(`POST /v1/completions HTTP/1.1\r\nhost: x\r\n${head}\r\n\r\n`);
    socket.write(isChunked ? `${bytes.toString(16)}\r\n${part}\r\n` : part);
    return { answer: () => answer };
  };
  const known = `authorization: Bearer ${key}`;
  const heads: [string, string, string][] = [
    ['of a known length', `content-length: ${1024 * kib}`, 'lean'],
    ['in chunks', 'transfer-encoding: chunked', 'node'],
  ];

  test.each(heads)(
    '%s share a part of the room, and leave the rest to the others',
    async (_what, framing) => {
      begin(framing, 300 * kib);
      await until(async () => (await strangers()) >= 300 * kib);
      const second = begin(`${framing}\r\nauthorization: Bearer made-up`, 300 * kib);
      await until(() => second.answer().startsWith('HTTP/1.1 503'));
      const body = JSON.stringify({ model: 'tiny', prompt: 'x'.repeat(900 * kib) });
      const answer = await postJson(`${gateway.url}/v1/completions`, body, {
        authorization: `Bearer ${key}`,
      });
      expect(answer.status).toBe(200);
      for (const socket of sockets.splice(0)) socket.destroy();
      await until(async () => (await strangers()) === 0);
      expect(await metric('muster_gateway_front_body_bytes')).toBe(0);
    },
  );

  test.each(heads)('%s: a known key has all of the room', async (_what, framing) => {
    const asked = begin(`${framing}\r\n${known}`, 900 * kib);
    await until(async () => (await metric('muster_gateway_front_body_bytes')) >= 900 * kib);
    expect(await strangers()).toBe(0);
    expect(asked.answer()).toBe('');
  });

  test('of transformers and of lines of batches are those of who they ask for', async () => {
    const transformer = await startBackend((seen, response) => {
      const headers = {
        'content-type': 'application/json',
        'x-request-id': String(seen.headers['x-request-id']),
      };
      const to = `${gateway.url}/serving/default/iris-predictor/v1/models/iris:predict`;
      void fetch(to, { method: 'POST', headers, body: seen.body as Uint8Array<ArrayBuffer> }).then((answer) =>
        response.writeHead(answer.status).end(),
      );
    });
    const targets = [
      {
        revision: 'r1',
        percent: 100,
        endpoints: [{ address: transformer.address, revision: 'r1', ready: true }],
      },
    ];
    const ready = [backend.address];
    const services = [
      { ...service('iris', { ready }), transformer: { targets } },
      service('tiny', { ready }),
    ];
    useAccess(gateway, services, { mode: 'required', keys: [record] });
    gateway.control.client = { currentToken: () => Promise.resolve('internal') } as never;
    const caller = {
      id: record.id,
      kind: 'key',
      tenant: '',
      tier: 'best-effort',
      namespace: null,
      scopes: ['infer'],
    };
    const line = async (bytes: number) => {
      const body = { model: 'tiny', prompt: 'x'.repeat(bytes) };
      const named = Buffer.from(JSON.stringify({ ...caller, models: ['*'] })).toString('base64');
      const headers = { 'x-muster-internal': 'internal', 'x-muster-caller': named };
      return (await postJson(`${gateway.url}/v1/completions`, body, headers)).status;
    };
    const chained = async () => {
      const body = { instances: ['x'.repeat(300 * kib)] };
      const headers = { authorization: `Bearer ${key}` };
      return (await postJson(`${gateway.url}/v1/models/iris:predict`, body, headers)).status;
    };
    expect(await line(10)).toBe(200);
    begin(`content-length: ${1024 * kib}`, 500 * kib);
    await until(async () => (await strangers()) >= 500 * kib);
    expect([await chained(), await line(300 * kib)]).toEqual([200, 200]);
    await transformer.close();
  });

  test('a token is a stranger until it was verified; an open gateway knows no strangers', async () => {
    const token = await sign(await makeSigningKey(), 'https://idp.example');
    begin(`content-length: ${1024 * kib}\r\nauthorization: Bearer ${token}`, 200 * kib);
    await until(async () => (await strangers()) >= 200 * kib);
    useAccess(gateway, [service('tiny', { ready: [backend.address] })], {});
    begin(`content-length: ${1024 * kib}`, 900 * kib);
    await until(async () => (await metric('muster_gateway_front_body_bytes')) >= 1100 * kib);
    expect(await strangers()).toBeLessThan(300 * kib);
  });

  test('is answered 401 once it is whole, and the room is free again', async () => {
    const body = JSON.stringify({ model: 'tiny', prompt: 'x'.repeat(300 * kib) });
    for (let time = 0; time < 3; time += 1)
      expect((await postJson(`${gateway.url}/v1/completions`, body)).status).toBe(401);
    await until(async () => (await strangers()) === 0);
    expect(await metric('muster_gateway_front_body_bytes')).toBe(0);
    expect(backend.seen).toEqual([]);
  });
});
