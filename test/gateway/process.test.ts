import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { freePort } from '../../control/up/ports.ts';
import { nodeFlagsFor } from '../../domain/process/node-flags.ts';
import { formatSnapshot } from '../../gateway/route-table/snapshot-file.ts';
import { startBackend } from '../fixtures/gateway/backends.ts';
import { until } from '../fixtures/gateway/control-api.ts';
import { get } from '../fixtures/gateway/gateway.ts';
import { service, table } from '../fixtures/gateway/tables.ts';

describe('the gateway as a process', () => {
  let folder: string;
  let child: ChildProcess | null = null;
  let out = '';
  let err = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'muster-gateway-process-'));
    out = '';
    err = '';
  });
  afterEach(async () => {
    child?.kill('SIGKILL');
    await rm(folder, { recursive: true });
  });

  const start = (
    port: number,
    level = 'info',
    log: number | 'pipe' = 'pipe',
    warmUpMs = 0,
  ): Promise<number | null> => {
    const started = spawn(process.execPath, [...nodeFlagsFor('gateway'), 'gateway/main.ts'], {
      env: {
        PATH: process.env['PATH'],
        MUSTER_DATA_DIR: folder,
        MUSTER_GATEWAY_PORT: String(port),
        MUSTER_API_URL: 'http://127.0.0.1:9',
        MUSTER_LOG_LEVEL: level,
        MUSTER_GATEWAY_WARM_UP_MS: String(warmUpMs),
        MUSTER_GRPC_PORT: '0',
      },
      stdio: ['ignore', log, 'pipe'],
    });
    child = started;
    started.stdout?.on('data', (chunk: Buffer) => (out += chunk.toString()));
    started.stderr?.on('data', (chunk: Buffer) => (err += chunk.toString()));
    return new Promise((resolve) => started.on('close', resolve));
  };
  const lines = (message: string): Record<string, unknown>[] =>
    out
      .split('\n')
      .filter((line) => line.startsWith('{') && line.endsWith('}'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((line) => line['msg'] === message);

  test('says plainly that its port is in use, and which variable moves it', async () => {
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
    const { port } = holder.address() as AddressInfo;
    const code = await start(port);
    expect(code).toBe(3);
    expect(err.trim().split('\n')).toEqual([
      `Port ${port} is in use: stop what uses it, or set MUSTER_GATEWAY_PORT to another port.`,
    ]);
    await new Promise((resolve) => holder.close(resolve));
  });

  test.each(['SIGTERM', 'SIGINT'] as const)(
    'ends with 0 at %s within its rehearsal, and never opens its port',
    async (signal) => {
      const ended = start(0, 'debug', 'pipe', 60_000);
      await until(() => lines('rehearsing before the port opens').length > 0);
      child?.kill(signal);
      expect(await ended).toBe(0);
      expect(err).toBe('');
      expect(lines('listening')).toEqual([]);
      expect(out).toContain('stopping: no new connections');
    },
  );

  test('its last lines are in the log, also when its reader is behind', async () => {
    const ended = start(0);
    await until(() => lines('listening').length > 0);
    const { port } = new URL(String(lines('listening')[0]?.['url']));
    const ask = () => get(`http://127.0.0.1:${port}/v1/${'x'.repeat(3_000)}`);
    child?.stdout?.pause(); // more than its pipe holds
    for (let round = 0; round < 8; round += 1) await Promise.all(Array.from({ length: 50 }, ask));
    setTimeout(() => child?.stdout?.resume(), 500);
    child?.kill('SIGTERM');
    expect(await ended).toBe(0);
    expect(lines('request')).toHaveLength(400);
    expect(out.trimEnd().split('\n').at(-1)).toContain('stopping: no new connections');
  });

  test('serves on while the disk of its log is full, and ends with 0', async () => {
    const port = await freePort('127.0.0.1');
    const full = await open('/dev/full', 'w');
    const ended = start(port, 'trace', full.fd);
    await until(() => isLive(port));
    for (let count = 0; count < 20; count += 1)
      expect((await get(`http://127.0.0.1:${port}/v1/models`)).status).toBe(503); // it has no table
    await new Promise((resolve) => setTimeout(resolve, 400)); // its access log is written meanwhile
    expect(await isLive(port)).toBe(true);
    child?.kill('SIGTERM');
    expect(await ended).toBe(0);
    expect(err).toBe('');
    await full.close();
  });

  test.each([
    ['has gone', 0, null],
    ['reads no more', null, 'SIGKILL'],
  ])('ends also when the reader of its log %s', async (what, code, signal) => {
    const ended = start(0, 'trace');
    await until(() => lines('listening').length > 0);
    const { port } = new URL(String(lines('listening')[0]?.['url']));
    if (what === 'has gone') child?.stdout?.destroy();
    else child?.stdout?.pause();
    // More than a pipe holds, and the last of it not yet written.
    for (let count = 0; count < 500; count += 1) await get(`http://127.0.0.1:${port}/v1/${'x'.repeat(200)}`);
    child?.kill('SIGTERM');
    expect(await once(child!, 'exit')).toEqual([code, signal]);
    child?.stdout?.destroy();
    await ended;
  });

  test('ends also when the reader of its log reads no more, and then goes', async () => {
    const ended = start(0, 'trace');
    await until(() => lines('listening').length > 0);
    const { port } = new URL(String(lines('listening')[0]?.['url']));
    child?.stdout?.pause();
    for (let count = 0; count < 1_500; count += 1)
      await get(`http://127.0.0.1:${port}/v1/${'x'.repeat(400)}`);
    child?.stdout?.destroy(); // what it has not read is a reset to the one who writes
    for (let count = 0; count < 200; count += 1) await get(`http://127.0.0.1:${port}/v1/${'x'.repeat(400)}`);
    await new Promise((resolve) => setTimeout(resolve, 400));
    child?.kill('SIGTERM');
    expect(await ended).toBe(0);
  });

  test('says in one line which setting is wrong', async () => {
    const code = await start(0, 'loud');
    expect(code).toBe(1);
    expect(err.trim().split('\n')).toHaveLength(1);
    expect(err).toContain('MUSTER_LOG_LEVEL');
  });

  test.each(['SIGTERM', 'SIGINT'] as const)(
    'at %s it finishes its streams, then ends with 0',
    async (signal) => {
      let finish: () => void = () => undefined;
      const backend = await startBackend((_seen, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write('data: 1\n\n');
        finish = () => response.end('data: [DONE]\n\n');
      });
      await mkdir(join(folder, 'gateway'));
      const saved = formatSnapshot(table([service('tiny', { ready: [backend.address] })]));
      await writeFile(join(folder, 'gateway', 'route-table.json'), saved);
      const ended = start(0);
      await until(() => lines('listening').length > 0);
      const url = String(lines('listening')[0]?.['url']);
      const streaming = await fetch(`${url}/v1/completions`, {
        method: 'POST',
        body: '{"model":"tiny","stream":true}',
      });
      child?.kill(signal);
      await until(() =>
        get(`${url}/v2/health/live`).then(
          () => false,
          () => true,
        ),
      );
      finish();
      expect(await streaming.text()).toBe('data: 1\n\ndata: [DONE]\n\n');
      expect(await ended).toBe(0);
      expect(lines('request')).toContainEqual(
        expect.objectContaining({ status: 200, model: 'tiny', tries: 1, protocol: 'openai' }),
      );
      await backend.close();
    },
  );
});

const isLive = (port: number): Promise<boolean> =>
  get(`http://127.0.0.1:${port}/v2/health/live`).then(
    ({ status }) => status === 200,
    () => false,
  );
