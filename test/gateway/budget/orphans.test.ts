import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import type { Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Process, eventually, freePort } from '../../fixtures/budget/storm.ts';

let folder: string;
let backend: Server;
/** Answers to requests of the user `slow`, which wait. */
let held: ServerResponse[];
let answered: number;
let gateway: Process;

const answer = JSON.stringify({ choices: [], usage: { prompt_tokens: 6, completion_tokens: 4 } });
const finish = (response: ServerResponse): void => {
  answered += 1;
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': answer.length });
  response.end(answer);
};

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'muster-orphans-'));
  [held, answered] = [[], 0];
  backend = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      if (body.includes('slow')) held.push(response);
      else finish(response);
    });
  }).listen(0, '127.0.0.1');
  await once(backend, 'listening');
  const routes = join(folder, 'routes.json');
  const services = [
    { name: 'chat', endpoints: [`http://127.0.0.1:${(backend.address() as AddressInfo).port}`] },
  ];
  const budgets = [{ id: 'all', period: 'total', limitTokens: 4_000, sliceTokens: 20 }];
  writeFileSync(routes, JSON.stringify({ services, policy: { budgets } }));
  const port = await freePort();
  gateway = new Process('gateway/main.ts', port, {
    ...{ MUSTER_DATA_DIR: folder, MUSTER_LOG_LEVEL: 'silent', MUSTER_GATEWAY_ROUTES: routes },
    ...{ MUSTER_GATEWAY_PORT: String(port), MUSTER_GRPC_PORT: '0', MUSTER_GATEWAY_WARM_UP_MS: '0' },
    MUSTER_GATEWAY_PROCESSES: '2',
  });
});
afterEach(async () => {
  await gateway.kill('SIGTERM');
  backend.close();
  backend.closeAllConnections();
  rmSync(folder, { recursive: true, force: true });
});

/** A connection each: they are dealt out to the processes in turn, and none is of a process that was there before. */
const send = (method: string, path: string, body = ''): Promise<number> =>
  new Promise((resolve) => {
    const { port } = gateway;
    const headers = { 'content-type': 'application/json' };
    const request = httpRequest({ port, path, method, agent: false, headers }, (response) => {
      response.resume();
      response.on('close', () => {
        resolve(response.statusCode ?? 0);
      });
    });
    request.on('error', () => {
      resolve(0);
    });
    request.end(body);
  });
const ask = (user: string): Promise<number> =>
  send('POST', '/v1/completions', JSON.stringify({ model: 'chat', user, max_tokens: 2 }));
const untilServing = () => eventually(async () => (await send('GET', '/v1/models/chat')) === 200);

/** Both processes serve, and have leased. */
const untilBothServe = () =>
  eventually(async () => {
    await ask('fast');
    return [0, 1].every((slot) => {
      const path = join(folder, 'gateway', 'budgets', `leases-${slot}.journal`);
      return existsSync(path) && readFileSync(path, 'utf8').includes('all|total');
    });
  });

/** Until both processes refuse. */
async function useUp(): Promise<void> {
  for (let refusals = 0; refusals < 8;) refusals = (await ask('fast')) === 200 ? 0 : refusals + 1;
}

describe('a gateway alone whose first process was killed', () => {
  test('knows what it spent, though the others still finish their requests when it is started again', async () => {
    gateway.start();
    await untilServing();
    await untilBothServe();
    const slow = [ask('slow'), ask('slow'), ask('slow'), ask('slow')];
    await eventually(() => Promise.resolve(held.length === 4)); // two at each process
    await useUp();
    expect(answered).toBeGreaterThan(300);
    await gateway.kill();
    gateway.start();
    await untilServing(); // who has no budget is served meanwhile
    let isDecided = false;
    const next = ask('fast').then(() => (isDecided = true));
    await sleep(1_000);
    expect(isDecided).toBe(false);
    held.forEach(finish);
    await Promise.all([...slow, next]);
    await useUp();
    expect(answered * 10).toBeLessThanOrEqual(4_000);
  }, 120_000);
});
