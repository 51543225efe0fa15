import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect } from '@jest/globals';
import { Redis } from 'ioredis';
import { budgetKey, settleLua } from '../../../domain/budget/lease-script.ts';
import type { UsageSum, WindowSpending } from '../../../domain/usage/usage-record.schema.ts';
import {
  ApiClient,
  CountingBackend,
  Process,
  ask,
  eventually,
  freePort,
  untilServing,
} from '../../fixtures/budget/storm.ts';
import type { Asked } from '../../fixtures/budget/storm.ts';
import { startRedis, withRedis } from '../../fixtures/redis.ts';
import type { RedisServer } from '../../fixtures/redis.ts';

/** Each request has a name of the service of its own, so that the ledger's sums by model tell them apart. */
const names = Array.from({ length: 20_000 }, (_, at) => `n${at}`);
const budget = { id: 'all', period: 'total', limitTokens: 100_000_000, sliceTokens: 2_000 };
/** What kill -9 can lose: requests in flight, and records of the last moments, not yet written. */
const unwrittenMs = 500;

let folder: string;
let redis: RedisServer;
let backend: CountingBackend;
let api: Process;
let gateways: Process[];
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'muster-storm-'));
  redis = await startRedis();
  backend = new CountingBackend();
  const env = { MUSTER_DATA_DIR: folder, MUSTER_LOG_LEVEL: 'silent', MUSTER_TEMPORAL_PORT: '1' };
  const apiPort = await freePort();
  api = new Process('control/api/main.ts', apiPort, { ...env, MUSTER_API_PORT: String(apiPort) });
  gateways = [];
  for (let count = 0; count < 2; count += 1) {
    const port = await freePort();
    const own = { MUSTER_GATEWAY_PORT: String(port), MUSTER_GRPC_PORT: '0', MUSTER_GATEWAY_WARM_UP_MS: '0' };
    const shared = { MUSTER_REDIS_URL: redis.url, MUSTER_API_URL: `http://127.0.0.1:${apiPort}` };
    gateways.push(new Process('gateway/main.ts', port, { ...env, ...own, ...shared }));
  }
});
afterEach(async () => {
  for (const process of [api, ...gateways]) await process.kill();
  await redis.stop();
  await backend.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('the ledger', () => {
  withRedis(
    'has every answered request once after gateways, Redis and the control API were killed under load',
    async () => {
      const client = new ApiClient(api.port, folder);
      const backendPort = await backend.listen();
      api.start();
      await eventually(() => api.isAnswering('/openapi.json'));
      await client.publish(backendPort, names, budget);
      for (const gateway of gateways) gateway.start();
      for (const gateway of gateways) await untilServing(gateway, 'n0');

      let isOver = false;
      const load = ask(
        gateways.map(({ port }) => port),
        names[Symbol.iterator](),
        () => isOver,
      );
      const kills: { gateway: number; atMs: number }[] = [];
      for (const victim of [0, 1, 'redis', 0, 'api', 1, 'redis', 0]) {
        await sleep(700);
        if (victim === 'redis') await redis.restart();
        else if (victim === 'api') {
          await api.kill();
          api.start();
        } else {
          const gateway = Number(victim);
          kills.push({ gateway, atMs: performance.now() });
          await gateways[gateway]?.kill();
          gateways[gateway]?.start();
        }
      }
      await sleep(700);
      for (const gateway of gateways) await untilServing(gateway, 'n0');
      isOver = true;
      const asked = await load;
      await eventually(() => api.isAnswering('/openapi.json'));
      // What the killed left behind is sent by the living; then these end and send their own.
      for (const gateway of gateways) await gateway.kill('SIGTERM');
      expect(readdirSync(join(folder, 'gateway', 'usage'))).toEqual([]);

      const { items } = (await client.call('GET', '/apis/muster.dev/v1alpha1/usage?by=model')) as {
        items: UsageSum[];
      };
      expect(backend.repeated).toEqual([]);
      expect(items.filter(({ requests }) => requests !== 1)).toEqual([]);
      const charged = new Set(items.map(({ group }) => group));
      expect([...charged].filter((name) => !backend.answered.has(name))).toEqual([]);
      const missing = [...backend.answered].filter((name) => !charged.has(name));
      expect(missing.filter((name) => !mayBeLost(name, asked, kills))).toEqual([]);
      expect(charged.size).toBeGreaterThan(20);
      process.stdout.write(
        `storm: ${backend.answered.size} answered, ${charged.size} charged, ${missing.length} lost by ${kills.length} kills\n`,
      );
      await expectSettledBooks(client, charged.size * 10);
    },
    300_000,
  );
});

/** In flight when its gateway was killed, or answered in the moment before. */
function mayBeLost(
  name: string,
  asked: readonly Asked[],
  kills: readonly { gateway: number; atMs: number }[],
): boolean {
  const request = asked.find((one) => one.name === name);
  if (request === undefined) return false;
  return kills.some(
    ({ gateway, atMs }) =>
      gateway === request.gateway && request.endedMs > atMs - unwrittenMs && request.endedMs < atMs + 2_000,
  );
}

/** After the last gateway is gone the book says what the ledger says, to the token. */
async function expectSettledBooks(client: ApiClient, tokens: number): Promise<void> {
  const { windows } = (await client.call('GET', '/internal/ledger/windows?since=0')) as {
    windows: WindowSpending[];
  };
  const [window] = windows;
  expect(windows).toHaveLength(1);
  const spent = window!.spent.flatMap((one) => [one.gateway, one.tokens, one.micros]);
  const book = new Redis(redis.url);
  try {
    await sleep(5);
    const key = budgetKey(window!.window);
    expect(await book.eval(settleLua, 1, key, 1, 3_600_000, ...spent)).toHaveLength(3);
    expect(Number(await book.hget(key, 'st'))).toBe(tokens);
  } finally {
    book.disconnect();
  }
}
