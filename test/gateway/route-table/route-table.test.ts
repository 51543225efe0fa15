import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { dataFolder } from '../../../domain/process/data-folder.ts';
import { defaultLimits } from '../../../gateway/limits.ts';
import { formatSnapshot } from '../../../gateway/route-table/snapshot-file.ts';
import { startGateway } from '../../../gateway/start.ts';
import type { RunningGateway } from '../../../gateway/start.ts';
import { echo, startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { startControlApi, until } from '../../fixtures/gateway/control-api.ts';
import type { FakeControlApi } from '../../fixtures/gateway/control-api.ts';
import { get, postJson } from '../../fixtures/gateway/gateway.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';

describe('the route table of a gateway', () => {
  let folder: string;
  let api: FakeControlApi;
  let backend: Backend;
  let gateway: RunningGateway | null;
  let logs: string[];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'muster-gateway-'));
    await writeFile(join(folder, 'token'), 'secret-1\n');
    api = await startControlApi('secret-1');
    backend = await startBackend(echo);
    gateway = null;
    logs = [];
  });
  afterEach(async () => {
    await gateway?.stop();
    await api.close();
    await backend.close();
    await rm(folder, { recursive: true });
  });

  /** @param silenceMsMax for tests of silence: in others a busy machine might cross a short one */
  const start = async (silenceMsMax = 20_000): Promise<string> => {
    gateway = await startGateway({
      host: '127.0.0.1',
      port: 0,
      apiUrl: api.url,
      folder: { ...dataFolder(folder), internalToken: join(folder, 'token') },
      gatewayId: 'here-1-abc',
      limits: defaultLimits,
      logger: pino({ level: 'debug' }, { write: (line: string) => logs.push(line) }),
      version: '0.0.1',
      stream: { backoffMsMin: 5, backoffMsMax: 20, silenceMsMax },
      reports: { drainingEveryMs: 20, everyMs: 100 },
    });
    return gateway.url;
  };
  const tiny = (version: number, models = ['tiny']) =>
    table([service('tiny', { models, ready: [backend.address] })], version);
  const listed = async (url: string) => {
    const { body } = await get(`${url}/v1/models`);
    return (body as { models?: string[] }).models ?? [];
  };

  test('comes by the stream, and its version is reported', async () => {
    const url = await start();
    expect(await get(`${url}/v2/health/ready`)).toMatchObject({
      status: 503,
      body: { error: 'Server is not ready.' },
    });
    await until(() => api.streams.length === 1);
    expect(api.streams[0]).toBe('/internal/routes/stream?gateway=here-1-abc');
    api.send(tiny(7));
    await until(() => api.reports.some((report) => report.version === 7 && report.gateway === 'here-1-abc'));
    expect(await listed(url)).toEqual(['tiny']);
    expect(await get(`${url}/v2/health/ready`)).toMatchObject({ status: 200, body: { ready: true } });
  });

  test('is replaced by a newer one, and refused whole when it is bad or older', async () => {
    const url = await start();
    await until(() => api.streams.length === 1);
    api.send(tiny(5, ['tiny', 'second']));
    await until(async () => (await listed(url)).length === 2);
    api.send(tiny(4));
    api.send({ version: 6, services: [{ name: 'broken' }] });
    api.send({ version: 6, services: [...tiny(1).services, ...tiny(1).services] });
    api.sendRaw('{"version": 6, "serv\n');
    await until(() => logs.filter((line) => line.includes('a route table was refused')).length === 4);
    expect(await listed(url)).toEqual(['second', 'tiny']);
    expect((await get(`${url}/metrics`)).text).toContain('muster_gateway_route_table_refused_total 4');
    api.send(tiny(6, ['tiny', 'third']));
    await until(async () => (await listed(url)).includes('third'));
  });

  test('may begin anew at a lower version with a new stream', async () => {
    const url = await start();
    await until(() => api.streams.length === 1);
    api.send(tiny(50));
    await until(async () => (await listed(url)).length === 1);
    api.first = JSON.stringify(tiny(1, ['tiny', 'reborn']));
    api.breakStreams();
    await until(async () => (await listed(url)).includes('reborn'));
  });

  test('is asked for again when the stream falls silent, and serves meanwhile', async () => {
    api.first = JSON.stringify(tiny(1));
    const url = await start(400);
    await until(() => api.streams.length >= 2);
    expect((await postJson(`${url}/v1/completions`, { model: 'tiny' })).status).toBe(200);
  });

  test('keeps one stream as long as blank lines come', async () => {
    api.first = JSON.stringify(tiny(1));
    const url = await start(1_500);
    for (let i = 0; i < 20; i += 1) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      api.sendRaw('\n');
    }
    expect(api.streams).toHaveLength(1);
    expect(await listed(url)).toEqual(['tiny']);
  });

  test('is fetched with a token that is read again after a 401', async () => {
    api.first = JSON.stringify(tiny(1));
    const url = await start();
    await until(async () => (await listed(url)).length === 1);
    await writeFile(join(folder, 'token'), 'secret-2');
    api.token = 'secret-2';
    api.first = JSON.stringify(tiny(2, ['tiny', 'again']));
    api.breakStreams();
    await until(async () => (await listed(url)).includes('again'));
    expect(api.refused).toBeGreaterThan(0);
    expect(logs.join('')).not.toContain('secret-');
  });

  test('is on disk, and serves with everything else down', async () => {
    api.first = JSON.stringify(tiny(9));
    await start();
    await until(() => api.reports.length > 0);
    await gateway?.stop();
    await api.close();
    const url = await start();
    expect(await listed(url)).toEqual(['tiny']);
    expect((await postJson(`${url}/v1/completions`, { model: 'tiny' })).status).toBe(200);
  });

  test.each([
    ['truncated', (text: string) => text.slice(0, text.length / 2)],
    ['tampered with', (text: string) => text.replace('"tiny"', '"evil"')],
    ['not a table', () => '{}'],
    ['empty', () => ''],
  ])('on disk is ignored when it is %s', async (_what, damage) => {
    const path = join(folder, 'table.json');
    await writeFile(path, damage(formatSnapshot(tiny(3))));
    gateway = await startGateway({
      host: '127.0.0.1',
      port: 0,
      apiUrl: api.url,
      folder: { ...dataFolder(folder), internalToken: join(folder, 'token'), routeTable: path },
      gatewayId: 'g',
      limits: defaultLimits,
      logger: pino({ level: 'debug' }, { write: (line: string) => logs.push(line) }),
      version: '0.0.1',
    });
    expect((await get(`${gateway.url}/v2/health/ready`)).status).toBe(503);
    expect(logs.join('')).toContain('is damaged and was ignored');
  });

  test('is saved with nothing half-written beside it', async () => {
    api.first = JSON.stringify(tiny(1));
    await start();
    await until(() => api.reports.length > 0);
    for (let version = 2; version < 20; version += 1) api.send(tiny(version));
    await until(() => api.reports.some((report) => report.version === 19));
    await gateway?.stop();
    const saved = await readFile(join(folder, 'gateway', 'route-table.json'), 'utf8');
    expect(saved).toBe(formatSnapshot(tiny(19)));
  });

  test('reports requests in flight to a server that left it, until they end', async () => {
    let finish: () => void = () => undefined;
    const slow = await startBackend((_seen, response) => {
      finish = () => response.end('{}');
    });
    api.first = JSON.stringify(table([service('tiny', { ready: [slow.address] })], 1));
    const url = await start();
    await until(async () => (await listed(url)).length === 1);
    const answer = postJson(`${url}/v1/completions`, { model: 'tiny' });
    await until(() => slow.seen.length === 1);
    api.send(tiny(2));
    await until(() => api.reports.some(({ draining }) => draining[slow.address] === 1));
    const before = api.reports.length;
    finish();
    expect((await answer).status).toBe(200);
    await until(() => api.reports.slice(before).some(({ draining }) => Object.keys(draining).length === 0));
    await slow.close();
  });
});
