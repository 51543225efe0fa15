import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { nodeFlagsFor } from '../../../domain/process/node-flags.ts';
import { killAll, start, stopAll } from '../children.ts';
import { freePort } from '../contenders.ts';
import { admin, runLoad, startMock } from '../measure.ts';
import type { Loader } from '../measure.ts';
import { buildPrograms } from '../programs.ts';
import type { LoadResult } from '../workloads.ts';

/**
 * What the cache costs and saves: `node bench/gateway/cache/main.ts [--json] [--seconds S]`. Gateways as processes on
 * CPU 1; load generator, mock and a real Redis on CPU 0. Latencies are those of 400 chats a second, as their client
 * sees them (the floor: a probe by the same client); CPU time is the gateway's own, 64 clients at once. A run in which
 * the cache did not do what it is named for is an error. Figures are printed and never asserted.
 */
const args = process.argv.slice(2);
const isJson = args.includes('--json');
const secondsAt = args.indexOf('--seconds');
const seconds = secondsAt < 0 ? 5 : Number(args[secondsAt + 1]);
const warmSeconds = 2;
const rate = 400;
const cpus = { gateway: '1', others: '0' };
const root = new URL('../../../', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'muster-bench-cache-'));

process.on('exit', () => {
  killAll();
  rmSync(folder, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130));

interface Gateway {
  readonly port: number;
  readonly pid: number;
  metrics(): Promise<string>;
}

async function startRedis(): Promise<string | null> {
  if (spawnSync('redis-server', ['--version']).status !== 0) return null;
  const port = await freePort();
  const command = [
    'redis-server',
    '--port',
    String(port),
    '--bind',
    '127.0.0.1',
    '--save',
    '',
    '--dir',
    folder,
  ];
  start(command, { cpus: cpus.others, logFile: join(folder, 'redis.log') });
  return `redis://127.0.0.1:${port}`;
}

async function startGateway(server: string, redis: string | null, cache: object): Promise<Gateway> {
  const home = mkdtempSync(join(folder, 'gateway-'));
  const routesFile = join(home, 'routes.json');
  const routes = { services: [{ name: 'm', endpoints: [server] }], policy: { cache } };
  writeFileSync(routesFile, JSON.stringify(routes));
  const port = await freePort();
  const flags = nodeFlagsFor('gateway', process.env['NODE_OPTIONS']);
  const child = start([process.execPath, ...flags, join(root, 'gateway/main.ts')], {
    cpus: cpus.gateway,
    logFile: join(home, 'log'),
    kind: 'ipc',
    env: {
      NODE_ENV: 'production',
      MUSTER_DATA_DIR: home,
      MUSTER_GATEWAY_ROUTES: routesFile,
      MUSTER_GATEWAY_PORT: String(port),
      MUSTER_GRPC_PORT: '0',
      MUSTER_LOG_LEVEL: 'warn',
      MUSTER_REDIS_URL: redis ?? '',
    },
  });
  const metrics = async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  for (let at = 0; at < 600; at += 1) {
    const text = await metrics().catch(() => '');
    if (text !== '' && (redis === null || text.includes('muster_gateway_redis_up 1')))
      return { port, pid: child.pid, metrics };
    await sleep(50);
  }
  throw new Error(`A gateway did not start: ${child.exit() ?? 'it does not answer'}. ${child.log()}`);
}

/** Requests by how they met the cache, so far. */
async function resultsOf(gateway: Gateway): Promise<Map<string, number>> {
  const lines = (await gateway.metrics()).matchAll(
    /^muster_gateway_cache_requests_total\{.*result="(\w+)".*\} (\d+)$/gm,
  );
  return new Map(Array.from(lines, ([, result = '', count]) => [result, Number(count)]));
}

const chat = ['-size', '1024', '-temperature', '0'];
const probe = ['-kind', 'get', '-path', '/v2/health/live'];
const steady = ['-c', '32', '-rate', String(rate), '-warm', `${warmSeconds}s`];
const flatOut = ['-c', '64', '-warm', '1s'];
const unlike = (from: number): string[] => ['-unique', String(from)];

/** @param expected how the cache meets (nearly) all of these requests; null: it does not see them */
async function measure(
  loader: Loader,
  gateway: Gateway,
  load: readonly string[],
  expected: string | null,
): Promise<LoadResult> {
  const before = await resultsOf(gateway);
  const target = { port: gateway.port, session: gateway.pid, args: [...load, '-d', `${seconds}s`] };
  const result = await runLoad(loader, target);
  if (result.errors + result.warm_errors > 0)
    throw new Error(`${result.errors} requests failed: ${result.error_samples?.[0] ?? 'in the warm-up'}`);
  const after = await resultsOf(gateway);
  const grown = new Map(Array.from(after, ([name, count]) => [name, count - (before.get(name) ?? 0)]));
  const all = [...grown.values()].reduce((sum, count) => sum + count, 0);
  const met =
    expected === null ? all === 0 : (grown.get(expected) ?? 0) >= 0.99 * all && all >= result.requests;
  if (!met)
    throw new Error(`the cache did otherwise than ${expected ?? 'nothing'}: ${JSON.stringify([...grown])}`);
  return result;
}

const millis = (us: number | undefined) => Math.round(us ?? NaN) / 1_000;
const latencies = (name: string, { lat_us }: LoadResult): Record<string, number> => ({
  [`${name}_p50_ms`]: millis(lat_us?.p50),
  [`${name}_p99_ms`]: millis(lat_us?.p99),
});
const cpu = (name: string, { gw_cpu_s, requests }: LoadResult): Record<string, number> => ({
  [`${name}_cpu_us`]: Math.round((gw_cpu_s / requests) * 1e7) / 10,
});

async function run(): Promise<Record<string, number>> {
  const programs = buildPrograms(root);
  const mock = await startMock(programs, folder, cpus.others);
  await admin(mock, 'config?delay_us=0&ttft_us=0&cache=0');
  const loader: Loader = { programs, mock, header: null, loadCpus: cpus.others };
  const server = `http://127.0.0.1:${mock.ports[0] ?? 0}`;
  const redis = await startRedis();
  const on = { enabled: true, local: { bytesMax: 512 * 1024 * 1024 } };
  const off = await startGateway(server, null, {});
  const alone = await startGateway(server, null, on);
  const figures = {
    ...latencies('floor', await measure(loader, alone, [...probe, ...steady], null)),
    ...latencies('cache_local', await measure(loader, alone, [...chat, ...steady], 'hit_local')),
    ...latencies('cache_miss', await measure(loader, alone, [...chat, ...steady, ...unlike(0)], 'miss')),
    ...latencies('cache_off', await measure(loader, off, [...chat, ...steady], null)),
    ...cpu('cache_hit', await measure(loader, alone, [...chat, ...flatOut], 'hit_local')),
    ...cpu('cache_miss', await measure(loader, alone, [...chat, ...flatOut, ...unlike(1e6)], 'miss')),
    ...cpu('cache_off', await measure(loader, off, [...chat, ...flatOut], null)),
  };
  return redis === null ? figures : { ...figures, ...(await runShared(loader, server, redis, on)) };
}

/** One gateway fills Redis, another one finds it all there. */
async function runShared(
  loader: Loader,
  server: string,
  redis: string,
  on: object,
): Promise<Record<string, number>> {
  const a = await startGateway(server, redis, on);
  const b = await startGateway(server, redis, on);
  const count = rate * (seconds + warmSeconds + 2);
  const fill = ['-c', '8', '-rate', String(rate * 4), '-warm', `${count / rate / 4}s`, ...unlike(0)];
  await measure(loader, a, [...chat, ...fill], 'miss');
  await sleep(500);
  return {
    ...latencies('cache_shared', await measure(loader, b, [...chat, ...steady, ...unlike(0)], 'hit_shared')),
    ...cpu('cache_miss_with_redis', await measure(loader, a, [...chat, ...flatOut, ...unlike(1e6)], 'miss')),
  };
}

const figures = await run();
if (isJson) process.stdout.write(`${JSON.stringify(figures)}\n`);
else
  for (const [name, value] of Object.entries(figures)) process.stdout.write(`${name.padEnd(32)} ${value}\n`);
await stopAll();
