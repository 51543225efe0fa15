import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { echo, refusingAddress, startBackend, startRawBackend } from '../fixtures/gateway/backends.ts';
import { until } from '../fixtures/gateway/control-api.ts';
import { get, postJson, startTestGateway } from '../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../fixtures/gateway/gateway.ts';
import { service } from '../fixtures/gateway/tables.ts';

describe('what the gateway protects', () => {
  let gateway: TestGateway;
  const closers: (() => Promise<void>)[] = [];
  beforeEach(async () => {
    gateway = await startTestGateway({ clientStallMs: 200, inFlightMax: 3 });
  });
  afterEach(async () => {
    await gateway.close();
    for (const close of closers.splice(0)) await close();
  });
  const ask = () => postJson(`${gateway.url}/v1/completions`, { model: 'tiny' });
  const dying = async () => {
    const backend = await startRawBackend((socket) => socket.resetAndDestroy());
    closers.push(backend.close);
    return backend;
  };

  test('servers from a request that kills them: it is sent to two and no more', async () => {
    const killed = [await dying(), await dying(), await dying()];
    gateway.use([service('tiny', { ready: killed.map(({ address }) => address) })]);
    expect(await ask()).toMatchObject({ status: 502, body: { error: { code: 'upstream_failed' } } });
    expect(killed.flatMap(({ received }) => received)).toHaveLength(2);
  });

  test('a load from being done twice: it is sent once to each server, and the failing one is named', async () => {
    const broken = await dying();
    gateway.use([service('tiny', { ready: [broken.address] })]);
    const answer = await postJson(`${gateway.url}/v2/repository/models/tiny/load`, { parameters: {} });
    expect(answer.status).toBe(502);
    expect((answer.body as { error: string }).error).toContain(`endpoint ${broken.address}`);
    expect(broken.received).toHaveLength(1);
  });

  test('itself from more requests than it may hold at once', async () => {
    const held: (() => void)[] = [];
    const backend = await startBackend((_seen, response) => held.push(() => response.end('{}')));
    closers.push(backend.close);
    gateway.use([service('tiny', { ready: [backend.address] })]);
    const running = [ask(), ask(), ask()];
    await until(() => held.length === 3);
    const refused = await ask();
    expect(refused).toMatchObject({ status: 503, body: { error: { code: 'gateway_busy' } } });
    expect(refused.headers.get('retry-after')).toBe('1');
    for (const end of held) end();
    for (const answer of await Promise.all(running)) expect(answer.status).toBe(200);
    expect((await get(`${gateway.url}/metrics`)).text).toMatch(/muster_gateway_in_flight 1\n/);
  });

  test('its memory from a client that reads nothing: the server is held back, then the client is dropped', async () => {
    let sent = 0;
    const backend = await startBackend((_seen, response) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream' });
      const block = Buffer.alloc(1024 * 1024);
      const more = (): void => {
        if (sent >= 1024 ** 3) return;
        // Only what a connection took counts: once it is cut, each write fails at once.
        response.write(block, (error) => {
          if (error) return;
          sent += block.length;
          setImmediate(more);
        });
      };
      more();
    });
    closers.push(backend.close);
    gateway.use([service('tiny', { ready: [backend.address] })]);
    const { port } = new URL(gateway.url);
    const client = connect(Number(port), '127.0.0.1', () => {
      client.pause();
      client.write('POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 16\r\n\r\n{"model":"tiny"}');
    });
    client.on('error', () => undefined);
    await until(() => gateway.logs.some(({ msg, isWhole }) => msg === 'request' && isWhole === false));
    client.destroy();
    expect(sent).toBeLessThan(64 * 1024 * 1024);
  });

  test('every request while its servers are replaced under it', async () => {
    const answers: number[] = [];
    let isReplacing = true;
    const first = await startBackend(echo);
    gateway.use([service('tiny', { ready: [first.address] })]);
    const caller = async (): Promise<void> => {
      while (isReplacing) answers.push((await ask()).status);
    };
    const callers = [caller(), caller()];
    let old = first;
    for (let round = 0; round < 8; round += 1) {
      const next = await startBackend(echo);
      gateway.use([service('tiny', { ready: [old.address, next.address] })]);
      await until(() => next.seen.length > 2);
      gateway.use([service('tiny', { ready: [next.address] })]);
      await until(() => gateway.endpoints.draining()[old.address] === undefined);
      await old.close();
      old = next;
    }
    isReplacing = false;
    await Promise.all(callers);
    closers.push(old.close);
    expect(new Set(answers)).toEqual(new Set([200]));
  });

  test('every request when a server is killed that the table still calls ready', async () => {
    const stays = await startBackend(echo);
    const dies = await startBackend(echo);
    closers.push(stays.close);
    gateway.use([service('tiny', { ready: [dies.address, stays.address] })]);
    for (let i = 0; i < 5; i += 1) expect((await ask()).status).toBe(200);
    await dies.close();
    for (let i = 0; i < 20; i += 1) expect((await ask()).status).toBe(200);
  });

  test('what it knows of addresses from growing: those that left the table are forgotten', async () => {
    for (let i = 0; i < 5; i += 1) {
      gateway.use([service('tiny', { ready: [await refusingAddress()] })]);
      expect((await ask()).status).toBe(503);
    }
    gateway.use([]);
    expect(gateway.endpoints.draining()).toEqual({});
    const { text } = await get(`${gateway.url}/metrics`);
    expect(text).toContain('service="tiny"');
    expect((await get(`${gateway.url}/metrics`)).text).not.toContain('service="tiny"');
  });
});
