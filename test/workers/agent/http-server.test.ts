import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { appendFile, mkdir, mkdtemp, readdir, readlink, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { AgentServer } from '../../../workers/agent/http-server.ts';
import { until } from '../../fixtures/gateway/control-api.ts';

let folder: string;
let server: AgentServer;
let address: string;
const logs = (): string => join(folder, 'model-logs', 'default', 'iris');

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-agent-server-'));
  await mkdir(logs(), { recursive: true });
  await writeFile(join(folder, 'token'), 'secret\n');
  for (const [name, text] of [
    ['iris-predictor-00001-0', 'old\n'],
    ['iris-predictor-00002-0', 'one\ntwo\nthree\n'],
    ['iris-predictor-00002-1', 'other\n'],
  ] as const) {
    await writeFile(join(logs(), `${name}.log`), text);
  }
  server = new AgentServer({
    host: '127.0.0.1',
    tokenFile: join(folder, 'token'),
    modelLogs: join(folder, 'model-logs'),
    registry: new Registry(),
    logger: pino({ level: 'silent' }),
  });
  address = await server.listen();
});

afterEach(async () => {
  await server.close();
  await rm(folder, { recursive: true, force: true });
});

/** Where the files are that this process has open. */
async function openFiles(): Promise<string[]> {
  const open = await readdir('/proc/self/fd');
  return Promise.all(open.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')));
}

const get = (path: string, headers: Record<string, string> = { authorization: 'Bearer secret' }) =>
  fetch(address + path, { headers });

describe("the agent's own server", () => {
  test.each([
    ['/logs/default/iris', 'one\ntwo\nthree\n'],
    ['/logs/default/iris?tail=2', 'two\nthree\n'],
    ['/logs/default/iris?replica=1', 'other\n'],
    ['/logs/default/iris?revision=iris-predictor-00001', 'old\n'],
  ])('%s', async (path, text) => {
    expect(await (await get(path)).text()).toBe(text);
  });

  test.each([
    ['/logs/default/nobody', 404],
    ['/logs/default/iris?replica=9', 404],
    ['/logs/default', 404],
    ['/logs/..%2f..%2f/etc', 404],
    ['/logs/default/iris?revision=../x', 400],
    ['/logs/default/iris?replica=-1', 400],
    ['/elsewhere', 404],
  ])('%s is answered with %d', async (path, status) => {
    expect((await get(path)).status).toBe(status);
  });

  test('asks for the token everywhere but for its health', async () => {
    for (const headers of [{}, { authorization: 'Bearer wrong' }, { authorization: 'secret' }]) {
      expect((await get('/metrics', headers as Record<string, string>)).status).toBe(401);
      expect((await get('/logs/default/iris', headers as Record<string, string>)).status).toBe(401);
    }
    expect((await get('/healthz', {})).status).toBe(200);
    expect((await fetch(`${address}/healthz`, { method: 'POST' })).status).toBe(405);
    await writeFile(join(folder, 'token'), '');
    expect((await get('/metrics', { authorization: 'Bearer ' })).status).toBe(401);
    await rm(join(folder, 'token'));
    expect((await get('/metrics')).status).toBe(401);
  });

  test('streams what is written while a reader follows, until it leaves', async () => {
    const leave = new AbortController();
    const response = await fetch(`${address}/logs/default/iris?follow=true&tail=1`, {
      headers: { authorization: 'Bearer secret' },
      signal: leave.signal,
    });
    expect(response.headers.get('x-muster-revision')).toBe('iris-predictor-00002');
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    expect((await reader.read()).value).toBe('three\n');
    await appendFile(join(logs(), 'iris-predictor-00002-0.log'), 'four\n');
    expect((await reader.read()).value).toBe('four\n');
    leave.abort();
    await expect(reader.read()).rejects.toThrow();
  });

  test('lets go of the log of a reader that leaves, whatever it was about to be sent', async () => {
    const log = join(logs(), 'iris-predictor-00002-0.log');
    for (let round = 0; round < 20; round++) {
      const leave = new AbortController();
      await fetch(`${address}/logs/default/iris?follow=true`, {
        headers: { authorization: 'Bearer secret' },
        signal: leave.signal,
      });
      const written = appendFile(log, 'x'.repeat(200_000));
      await sleep(round * 2);
      leave.abort();
      await written;
    }
    await until(async () => !(await openFiles()).includes(log));
  });

  test('gives the places of readers that left before they were answered to others', async () => {
    for (let round = 0; round < 200; round++) {
      const socket = connect(Number(new URL(address).port), '127.0.0.1');
      socket.on('error', () => undefined);
      const head =
        'GET /logs/default/iris?follow=true HTTP/1.1\r\nhost: a\r\nauthorization: Bearer secret\r\n\r\n';
      await new Promise((resolve) => socket.write(head, resolve));
      socket.resetAndDestroy();
    }
    await until(async () => {
      const leave = new AbortController();
      const { status } = await fetch(`${address}/logs/default/iris?follow=true`, {
        headers: { authorization: 'Bearer secret' },
        signal: leave.signal,
      });
      leave.abort();
      return status === 200;
    });
  });

  test('ends its readers when it is closed', async () => {
    const response = await get('/logs/default/iris?follow=1');
    await server.close();
    const text = await response.text().catch(() => 'cut');
    expect(['cut', 'one\ntwo\nthree\n']).toContain(text);
    server = new AgentServer({
      host: '127.0.0.1',
      tokenFile: '',
      modelLogs: '',
      registry: new Registry(),
      logger: pino({ level: 'silent' }),
    });
    await server.listen();
  });
});
