import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { Agent, get as httpGet } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { nodeFlagsFor } from '../../../domain/process/node-flags.ts';
import { echo, startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, Respond } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';

/** Real processes: `muster gateway --routes … --processes 2`. */
describe('a gateway in two processes', () => {
  let folder: string;
  let routes: string;
  let child: ChildProcess | null;
  let out: string;
  let err: string;
  let port: number;
  let backend: Backend;
  let ended: Promise<number | null>;
  let respond: Respond;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'muster-gateway-cluster-'));
    routes = join(folder, 'routes.yaml');
    child = null;
    out = '';
    err = '';
    port = await freePort();
    respond = echo;
    backend = await startBackend((seen, response) => {
      respond(seen, response);
    });
    await writeFile(routes, services('m'));
  });
  afterEach(async () => {
    child?.kill('SIGKILL');
    await ended;
    await backend.close();
    await rm(folder, { recursive: true });
  });

  const services = (name: string) => `services: [{name: ${name}, endpoints: ['${backend.address}']}]\n`;

  const start = (file = routes): void => {
    const args = [...nodeFlagsFor('gateway'), 'gateway/main.ts'];
    const started = spawn(process.execPath, args, {
      env: {
        PATH: process.env['PATH'],
        MUSTER_DATA_DIR: folder,
        MUSTER_GATEWAY_ROUTES: file,
        MUSTER_GATEWAY_PORT: String(port),
        MUSTER_GATEWAY_PROCESSES: '2',
        MUSTER_GATEWAY_WARM_UP_MS: '0',
        MUSTER_GRPC_PORT: '0',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child = started;
    started.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    started.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
    ended = new Promise((resolve) => started.on('close', resolve));
  };
  const untilUp = () => until(() => out.includes('all processes listen'));
  /** Each on a connection of its own: they are dealt out in turn. */
  const ask = (path: string): Promise<{ status: number; text: string }> =>
    new Promise((resolve, reject) => {
      httpGet({ host: '127.0.0.1', port, path, agent: new Agent() }, (answer) => {
        let text = '';
        answer.on('data', (chunk: Buffer) => (text += chunk.toString()));
        answer.on('end', () => {
          resolve({ status: answer.statusCode ?? 0, text });
        });
        answer.on('error', reject);
      }).on('error', reject);
    });
  const workers = async (): Promise<number[]> => {
    const parent = child?.pid ?? 0;
    const found: number[] = [];
    for (const name of await readdir('/proc')) {
      if (!/^\d+$/.test(name)) continue;
      const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '');
      if (Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === parent) found.push(Number(name));
    }
    return found;
  };
  const metric = async (name: string): Promise<number> => {
    const { text } = await ask('/metrics');
    const lines = text.split('\n').filter((line) => line.startsWith(name));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  };

  test('deals connections out in turn and tells the metrics of both, whichever is asked', async () => {
    start();
    await untilUp();
    for (let at = 0; at < 10; at += 1) expect((await ask('/v2/models/m')).status).toBe(200);
    for (const _ of [1, 2, 3]) {
      expect(
        await metric('muster_gateway_requests_total{protocol="v2",namespace="default",service="m"'),
      ).toBe(10);
      expect(await metric('muster_gateway_processes')).toBe(2);
    }
    child?.kill('SIGTERM');
    expect(await ended).toBe(0);
    const byWorker = [1, 2].map(
      (worker) =>
        out
          .split('\n')
          .filter((line) => line.includes('"path":"/v2/models/m"') && line.includes(`"worker":${worker}`))
          .length,
    );
    expect(byWorker).toEqual([5, 5]);
  });

  test('starts a killed process again, serves meanwhile, and no counter goes back', async () => {
    start();
    await untilUp();
    for (let at = 0; at < 6; at += 1) await ask('/v2/models/m');
    const name = 'muster_gateway_requests_total{protocol="v2",namespace="default",service="m"';
    expect(await metric(name)).toBe(6);
    const before = await workers();
    expect(before).toHaveLength(2);
    process.kill(before[0] ?? 0, 'SIGKILL');
    await until(() => out.includes('a process of the gateway ended'));
    for (let at = 0; at < 4; at += 1) expect((await ask('/v2/models/m')).status).toBe(200);
    expect(await metric(name)).toBe(10);
    await until(async () => (await metric('muster_gateway_processes')) === 2);
    expect(await metric('muster_gateway_process_restarts_total')).toBe(1);
    expect((await workers()).filter((pid) => before.includes(pid))).toHaveLength(1);
  });

  test('gives a changed file to every process, and the last good one to a process that starts anew', async () => {
    start();
    await untilUp();
    await writeFile(routes, services('n'));
    const both = async () => [(await ask('/v2/models/n')).status, (await ask('/v2/models/n')).status];
    await until(async () => (await both()).every((status) => status === 200));
    await writeFile(routes, 'services: wrong');
    await until(() => out.includes('a route table was refused'));
    expect(await metric('muster_gateway_route_table_refused_total')).toBe(1);
    process.kill((await workers())[0] ?? 0, 'SIGKILL');
    await until(() => out.includes('a process of the gateway ended'));
    await until(async () => (await workers()).length === 2);
    await until(async () => (await metric('muster_gateway_processes')) === 2);
    expect(await both()).toEqual([200, 200]);
    expect((await ask('/v2/models/m')).status).toBe(404);
  });

  test('finishes the streams of all its processes before it ends', async () => {
    const finish: (() => void)[] = [];
    respond = (_seen, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: 1\n\n');
      finish.push(() => response.end('data: [DONE]\n\n'));
    };
    start();
    await untilUp();
    const streams = [ask('/v2/models/m'), ask('/v2/models/m')];
    await until(() => finish.length === 2);
    child?.kill('SIGTERM');
    await until(() => out.split('stopping: no new connections').length > 3);
    for (const end of finish) end();
    for (const { text } of await Promise.all(streams)) expect(text).toContain('[DONE]');
    expect(await ended).toBe(0);
  });

  test('finishes what it serves and leaves nobody behind when its first process is killed', async () => {
    let finish: () => void = () => undefined;
    respond = (_seen, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: 1\n\n');
      finish = () => response.end('data: [DONE]\n\n');
    };
    start();
    await untilUp();
    const left = await workers();
    const stream = ask('/v2/models/m');
    await until(() => backend.seen.length === 1);
    child?.kill('SIGKILL');
    await until(async () => (await Promise.all(left.map(isAlive))).filter(Boolean).length === 1);
    finish();
    expect((await stream).text).toContain('[DONE]');
    await until(async () => (await Promise.all(left.map(isAlive))).every((alive) => !alive));
  });

  test.each([
    ['a wrong file', 1, /^The routes file .* is wrong at services: .*\.$/],
    ['a port in use', 3, /^Port \d+ is in use: stop what uses it/],
  ])('says %s once, in one line, and ends', async (what, code, sentence) => {
    const holder = createServer();
    if (what === 'a port in use')
      await new Promise<void>((resolve) => holder.listen(port, '127.0.0.1', resolve));
    else await writeFile(routes, 'services: 5');
    start();
    expect(await ended).toBe(code);
    expect(err.trim()).toMatch(sentence);
    holder.close();
  });
});

async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat !== '' && !stat.includes(') Z ');
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
