import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect } from '@jest/globals';
import { pino } from 'pino';
import { dataFolder } from '../../domain/process/data-folder.ts';
import { defaultLimits } from '../../gateway/limits.ts';
import { startGateway } from '../../gateway/start.ts';
import type { RunningGateway } from '../../gateway/start.ts';
import { startBackend } from '../fixtures/gateway/backends.ts';
import type { Backend } from '../fixtures/gateway/backends.ts';
import { startControlApi, until } from '../fixtures/gateway/control-api.ts';
import type { FakeControlApi } from '../fixtures/gateway/control-api.ts';
import { get, postJson } from '../fixtures/gateway/gateway.ts';
import { service, table } from '../fixtures/gateway/tables.ts';
import { startRedis, withRedis as test } from '../fixtures/redis.ts';
import type { RedisServer } from '../fixtures/redis.ts';

/** What callers see when a part is gone: the table in gateway/README.md, row by row. */
describe('a gateway with Redis, a control API and two servers', () => {
  let folder: string;
  let redis: RedisServer;
  let api: FakeControlApi;
  let models: Backend[] = [];
  let gateway: RunningGateway;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'muster-gone-'));
    const paths = dataFolder(folder);
    await mkdir(dirname(paths.internalToken), { recursive: true });
    await writeFile(paths.internalToken, 'secret');
    redis = await startRedis();
    api = await startControlApi('secret');
    models = await Promise.all(
      [0, 1].map((at) => startBackend((_seen, response) => response.end(JSON.stringify({ from: at })))),
    );
    api.first = JSON.stringify(
      routes(
        models.map(({ address }) => address),
        1,
      ),
    );
    gateway = await startGateway({
      host: '127.0.0.1',
      port: 0,
      apiUrl: api.url,
      folder: paths,
      gatewayId: 'g',
      limits: { ...defaultLimits, drainMs: 1000 },
      logger: pino({ level: 'silent' }),
      version: '0',
      redisUrl: redis.url,
      stream: { backoffMsMin: 10, backoffMsMax: 50 },
    });
    await until(async () => (await get(`${gateway.url}/v2/health/ready`)).status === 200);
  });
  afterEach(async () => {
    await gateway.stop();
    await api.close();
    await redis.stop();
    for (const model of models) await model.close();
    await rm(folder, { recursive: true, force: true });
  });
  const routes = (ready: string[], version: number) => ({
    ...table([service('m', { ready })], version),
    policy: { cache: { enabled: true } },
  });
  let count = 0;
  const ask = () =>
    postJson(`${gateway.url}/v1/chat/completions`, {
      model: 'm',
      temperature: 0,
      messages: [{ role: 'user', content: `question ${String((count += 1))}` }],
    });
  const askMany = async (times = 40) => {
    const answers = await Promise.all(Array.from({ length: times }, ask));
    return [...new Set(answers.map(({ status }) => status))];
  };

  test('Redis killed, hung, and back: no request fails', async () => {
    expect(await askMany()).toEqual([200]);
    redis.pause();
    expect(await askMany()).toEqual([200]);
    redis.resume();
    await redis.kill();
    expect(await askMany()).toEqual([200]);
    await redis.restart();
    expect(await askMany()).toEqual([200]);
  });

  test('the control API gone and back: the last table serves, and a newer one is taken when it is back', async () => {
    const port = Number(new URL(api.url).port);
    await api.close();
    expect(await askMany()).toEqual([200]);
    expect((await get(`${gateway.url}/v2/health/ready`)).status).toBe(200);
    api = await startControlApi('secret', port);
    api.first = JSON.stringify(routes([models[1]!.address], 2));
    await until(async () => (await get(`${gateway.url}/metrics`)).text.includes('route_table_version 2'));
    expect((await ask()).body).toEqual({ from: 1 });
  });

  test('one server gone: no request fails', async () => {
    await models[0]!.close();
    expect(await askMany()).toEqual([200]);
    expect((await ask()).body).toEqual({ from: 1 });
  });

  test('all servers gone: 503 with Retry-After and a reason, at once; the first one that is back serves', async () => {
    const address = models[0]!.address;
    for (const model of models) await model.close();
    const answer = await ask();
    expect(answer).toMatchObject({ status: 503, body: { error: { code: 'upstream_unreachable' } } });
    expect(answer.headers.get('retry-after')).not.toBeNull();
    const again = await startBackend(
      (_seen, response) => response.end('{"from":"again"}'),
      Number(new URL(address).port),
    );
    models.push(again);
    await until(async () => (await ask()).status === 200);
  });

  test('Redis, the control API and one server gone at once: no request fails', async () => {
    await Promise.all([redis.kill(), api.close(), models[1]!.close()]);
    expect(await askMany()).toEqual([200]);
  });
});
