import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { freePort } from '../../../control/up/ports.ts';
import { ask, chatServer } from '../../fixtures/cache/openai-server.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';

test('a purge that one process of a gateway is asked for is for all of them, without Redis', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'muster-cache-processes-'));
  const server = chatServer();
  const backend = await startBackend(server.respond);
  const routes = {
    services: [{ name: 'tiny', endpoints: [backend.address] }],
    policy: { cache: { enabled: true } },
  };
  writeFileSync(join(folder, 'routes.json'), JSON.stringify(routes));
  const port = await freePort('127.0.0.1');
  const child = spawn(process.execPath, ['gateway/main.ts'], {
    env: {
      PATH: process.env['PATH'],
      MUSTER_DATA_DIR: folder,
      MUSTER_GATEWAY_ROUTES: join(folder, 'routes.json'),
      MUSTER_GATEWAY_PORT: String(port),
      MUSTER_GATEWAY_PROCESSES: '2',
      MUSTER_GRPC_PORT: '0',
    },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  /** On a connection of its own: they are dealt out in turn. */
  const post = (path: string, body: unknown): Promise<{ state: string; text: string }> =>
    new Promise((resolve, reject) => {
      const request = httpRequest(
        { host: '127.0.0.1', port, path, method: 'POST', agent: new Agent() },
        (answer) => {
          let text = '';
          answer.on('data', (chunk: Buffer) => (text += chunk.toString()));
          answer.on('end', () => {
            resolve({ state: String(answer.headers['x-muster-cache']), text });
          });
        },
      );
      request.on('error', reject);
      request.end(JSON.stringify(body));
    });
  const chat = async () => (await post('/v1/chat/completions', ask())).state;
  try {
    await until(() => out.includes('all processes listen'));
    expect([await chat(), await chat(), await chat(), await chat()]).toEqual(['miss', 'miss', 'hit', 'hit']);
    await post('/v1/cache/purge', { model: 'tiny' });
    await until(async () => {
      await Promise.all([chat(), chat()]);
      return server.count === 4; // each has asked once more
    });
    expect([await chat(), await chat()]).toEqual(['hit', 'hit']);
  } finally {
    child.kill('SIGKILL');
    await once(child, 'close');
    await backend.close();
    rmSync(folder, { recursive: true });
  }
});
