import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * What the cache costs and saves: `node bench/gateway/cache/main.ts [--json] [--seconds S]`. Gateways as processes, a
 * real Redis, a stand-in for a model server. Latencies are those of an open loop at a steady rate, as the client sees
 * them (the floor: a probe by the same client); CPU is the gateway's own, by its metrics, in a closed loop. Figures
 * are printed and never asserted.
 */
const args = process.argv.slice(2);
const isJson = args.includes('--json');
const secondsAt = args.indexOf('--seconds');
const seconds = secondsAt < 0 ? 5 : Number(args[secondsAt + 1]);
const rate = 400;
const root = new URL('../../../', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'muster-bench-cache-'));
const children: ChildProcess[] = [];

process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

interface Gateway {
  readonly port: number;
  cpuSeconds(): Promise<number>;
}

const chatBytes = 1_024;

function chat(id: string): string {
  const body = (content: string) =>
    JSON.stringify({
      model: 'tiny',
      temperature: 0,
      max_tokens: 64,
      messages: [
        { role: 'system', content: 'You are a helpful assistant.' },
        { role: 'user', content },
      ],
    });
  const start = `${id} tell me\nof the sea. `;
  return body(start + 'x'.repeat(Math.max(0, chatBytes - body(start).length)));
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function startModelServer(): Promise<string> {
  const text = JSON.stringify({
    id: 'chatcmpl-1',
    object: 'chat.completion',
    created: 1,
    model: 'tiny',
    choices: [{ index: 0, message: { role: 'assistant', content: 'y'.repeat(700) }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 200, completion_tokens: 150, total_tokens: 350 },
  });
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      response.writeHead(200, {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(text),
      });
      response.end(text);
    });
  });
  server.listen(0, '127.0.0.1').unref();
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function startRedis(): Promise<string> {
  const port = await freePort();
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', folder];
  children.push(spawn('redis-server', args, { stdio: 'ignore' }));
  await sleep(300);
  return `redis://127.0.0.1:${port}`;
}

async function startGateway(server: string, redis: string | null, cache: object): Promise<Gateway> {
  const home = mkdtempSync(join(folder, 'gateway-'));
  const routes = join(home, 'routes.json');
  writeFileSync(
    routes,
    JSON.stringify({ services: [{ name: 'tiny', endpoints: [server] }], policy: { cache } }),
  );
  const port = await freePort();
  const child = spawn(process.execPath, ['gateway/main.ts'], {
    cwd: root,
    env: {
      PATH: process.env['PATH'],
      MUSTER_DATA_DIR: home,
      MUSTER_GATEWAY_ROUTES: routes,
      MUSTER_GATEWAY_PORT: String(port),
      MUSTER_GRPC_PORT: '0',
      MUSTER_LOG_LEVEL: 'warn',
      ...(redis === null ? {} : { MUSTER_REDIS_URL: redis }),
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  children.push(child);
  const metrics = async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  for (let at = 0; at < 200; at += 1) {
    const text = await metrics().catch(() => '');
    if (text !== '' && (redis === null || text.includes('muster_gateway_redis_up 1'))) break;
    await sleep(50);
  }
  return {
    port,
    cpuSeconds: async () => Number(/^process_cpu_seconds_total (\S+)$/m.exec(await metrics())?.[1]),
  };
}

const agent = new Agent({ keepAlive: true, maxSockets: 32 });

/** @param body '': a probe, which costs a gateway and this client next to nothing
 * @returns milliseconds, and how the cache answered */
function ask({ port }: Gateway, body: string): Promise<{ ms: number; state: string }> {
  return new Promise((resolve, reject) => {
    const startMs = performance.now();
    const [method, path] = body === '' ? ['GET', '/v2/health/live'] : ['POST', '/v1/chat/completions'];
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const request = httpRequest({ host: '127.0.0.1', port, path, method, agent, headers }, (response) => {
      response.resume().on('end', () => {
        const level = response.headers['x-muster-cache-level'] ?? response.headers['x-muster-cache'] ?? 'off';
        resolve({ ms: performance.now() - startMs, state: String(level) });
      });
    });
    request.on('error', reject);
    request.end(body);
  });
}

interface Latencies {
  readonly p50: number;
  readonly p99: number;
  readonly states: Readonly<Record<string, number>>;
}

/** At a steady rate, whether or not answers keep up. */
async function openLoop(gateway: Gateway, body: (at: number) => string, count: number): Promise<Latencies> {
  const answers: Promise<{ ms: number; state: string }>[] = [];
  const startMs = performance.now();
  for (let at = 0; at < count; at += 1) {
    const waitMs = startMs + (at * 1_000) / rate - performance.now();
    if (waitMs > 0) await sleep(waitMs);
    answers.push(ask(gateway, body(at)));
  }
  const all = await Promise.all(answers);
  const sorted = all.map(({ ms }) => ms).sort((a, b) => a - b);
  const states: Record<string, number> = {};
  for (const { state } of all) states[state] = (states[state] ?? 0) + 1;
  const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN;
  return { p50: at(0.5), p99: at(0.99), states };
}

/** @returns CPU microseconds of the gateway per request, 16 at once */
async function closedLoop(gateway: Gateway, body: (at: number) => string): Promise<number> {
  let count = 0;
  let isOver = false;
  const client = async () => {
    while (!isOver) await ask(gateway, body((count += 1)));
  };
  const before = await gateway.cpuSeconds();
  const clients = Array.from({ length: 16 }, client);
  await sleep(seconds * 1_000);
  isOver = true;
  await Promise.all(clients);
  return ((await gateway.cpuSeconds()) - before) * (1e6 / count);
}

const micros = (value: number) => Math.round(value * 10) / 10;
const millis = (value: number) => Math.round(value * 1_000) / 1_000;

async function run(): Promise<Record<string, number>> {
  const server = await startModelServer();
  const hasRedis = spawnSync('redis-server', ['--version']).status === 0;
  const redis = hasRedis ? await startRedis() : null;
  const on = { enabled: true, local: { bytesMax: 512 * 1024 * 1024 } };
  const [off, alone] = [await startGateway(server, null, {}), await startGateway(server, null, on)];
  const [a, b] = [await startGateway(server, redis, on), await startGateway(server, redis, on)];
  for (const gateway of [off, alone, a, b]) await openLoop(gateway, (at) => chat(`warm ${at}`), 800);

  const count = rate * seconds;
  const floor = await openLoop(alone, () => '', count);
  const local = await openLoop(alone, (at) => chat(`warm ${at % 500}`), count);
  await openLoop(a, (at) => chat(`shared ${at}`), count);
  await sleep(500);
  const shared = await openLoop(b, (at) => chat(`shared ${at}`), count);
  const missed = await openLoop(alone, (at) => chat(`miss ${at}`), count);
  const without = await openLoop(off, (at) => chat(`miss ${at}`), count);
  const states = JSON.stringify({ local: local.states, shared: shared.states, missed: missed.states });
  process.stderr.write(`how the cache answered: ${states}\n`);
  const cpuOff = await closedLoop(off, (at) => chat(`c ${at}`));
  const cpuMiss = await closedLoop(alone, (at) => chat(`c ${at}`));
  const cpuHit = await closedLoop(alone, (at) => chat(`warm ${at % 500}`));
  const cpuShared = redis === null ? NaN : await closedLoop(a, (at) => chat(`d ${at}`));
  return {
    floor_p50_ms: millis(floor.p50),
    floor_p99_ms: millis(floor.p99),
    cache_local_p50_ms: millis(local.p50),
    cache_local_p99_ms: millis(local.p99),
    cache_shared_p50_ms: millis(shared.p50),
    cache_shared_p99_ms: millis(shared.p99),
    cache_miss_p50_ms: millis(missed.p50),
    cache_miss_p99_ms: millis(missed.p99),
    cache_off_p50_ms: millis(without.p50),
    cache_off_p99_ms: millis(without.p99),
    cache_off_cpu_us: micros(cpuOff),
    cache_miss_cpu_us: micros(cpuMiss),
    cache_hit_cpu_us: micros(cpuHit),
    cache_miss_with_redis_cpu_us: micros(cpuShared),
  };
}

const figures = await run();
if (isJson) process.stdout.write(`${JSON.stringify(figures)}\n`);
else
  for (const [name, value] of Object.entries(figures)) process.stdout.write(`${name.padEnd(32)} ${value}\n`);
agent.destroy();
process.exit(0);
