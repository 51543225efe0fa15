import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { nodeFlagsFor } from '../../../domain/process/node-flags.ts';
import { killAll, start, stopAll } from '../children.ts';
import { freePort, gatewayEnv } from '../contenders.ts';
import { startMock } from '../measure.ts';
import { buildPrograms } from '../programs.ts';
import { makeRoutes } from '../routes.ts';
import { clearTouched, sharesOf, touchedPages } from './analysis.ts';
import type { Share } from './analysis.ts';

/**
 * What one chat of 1 KB makes the gateway do, all on. Counted,
 * not timed, so it is the same on a busy machine: pages that it touches (median of eleven requests), then
 * each instruction of its main thread, one by one (ptrace, Linux on amd64; half a minute for a request). Of the kernel's
 * nothing is seen, nor is data told by function.
 */
const usage = `npm run bench:steps -- [--root CHECKOUT] [--rows N] [--json]

Counts what one chat makes the gateway do; takes two minutes.
  --root CHECKOUT  of another checkout of this project
  --rows N         functions in the table (30)
  --json           the sums alone, as one object`;
const values = readOptions();
if (values.help) {
  process.stdout.write(`${usage}\n`);
  process.exit(0);
}
if (process.platform !== 'linux' || process.arch !== 'x64') {
  process.stderr.write('Instructions are counted on Linux and x64 alone.\n');
  process.exit(1);
}
const root = values.root.endsWith('/') ? values.root : `${values.root}/`;
const here = new URL('../../../', import.meta.url).pathname;
const warmUps = 60_000;
/** Counted one by one its instructions take half a minute. */
const answerMsMax = 300_000;
const scratch = mkdtempSync(join(tmpdir(), 'muster-bench-steps-'));
process.on('exit', () => {
  killAll();
  rmSync(scratch, { recursive: true, force: true, maxRetries: 3 });
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130));

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        root: { type: 'string', default: new URL('../../../', import.meta.url).pathname },
        rows: { type: 'string', default: '30' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    if (!/^\d{1,6}$/.test(values.rows)) throw new Error(`--rows takes a number, not '${values.rows}'.`);
    return values;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${usage}\n`);
    process.exit(2);
  }
}

interface Gateway {
  readonly pid: number;
  readonly client: Socket;
  readonly request: string;
}

/** Where `--perf-basic-prof` says what it compiled. */
function compiledMap(pid: number): string {
  return join(tmpdir(), `perf-${pid}.map`);
}

/** @param flags further ones of node's */
async function startGateway(programs: string, flags: readonly string[]): Promise<Gateway> {
  const mock = await startMock(programs, scratch, '0');
  const routes = makeRoutes(
    mock.ports.map((port) => `http://127.0.0.1:${port}`),
    false,
  );
  writeFileSync(join(scratch, 'routes.json'), routes.text);
  const port = await freePort();
  const child = start(
    [process.execPath, ...nodeFlagsFor('gateway', undefined), ...flags, join(root, 'gateway/main.ts')],
    {
      cpus: '1',
      logFile: join(scratch, 'gateway.log'),
      cwd: scratch,
      kind: 'ipc',
      env: gatewayEnv(join(scratch, 'data'), join(scratch, 'routes.json'), port),
    },
  );
  process.on('exit', () => {
    rmSync(compiledMap(child.pid), { force: true });
  });
  const content = 'The quick brown fox jumps over the lazy dog. '.repeat(20);
  const body = JSON.stringify({ model: 'm', messages: [{ role: 'user', content }] });
  const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${routes.header ?? ''}`;
  const client = await dial(port, () => child.exit());
  return { pid: child.pid, client, request: `${head}\r\ncontent-length: ${body.length}\r\n\r\n${body}` };
}

async function dial(port: number, exited: () => string | null): Promise<Socket> {
  for (let tries = 0; tries < 300 && exited() === null; tries += 1) {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true });
    const isOpen = await new Promise<boolean>((resolve) =>
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false)),
    );
    if (isOpen) return socket.on('error', () => undefined);
    await sleep(100);
  }
  throw new Error(`The gateway did not start: ${exited() ?? 'it does not listen'}.`);
}

/** An answer is one write, and comes as one piece. */
async function ask({ client, request }: Gateway): Promise<void> {
  const answer = await new Promise<Buffer>((resolve, reject) => {
    const left = () => {
      reject(new Error('The gateway closed the connection.'));
    };
    const late = setTimeout(() => {
      reject(new Error(`No answer in ${answerMsMax / 1000} seconds.`));
    }, answerMsMax);
    client.once('close', left).once('data', (bytes: Buffer) => {
      clearTimeout(late);
      client.off('close', left);
      resolve(bytes);
    });
    client.write(request);
  });
  const line = answer.toString('latin1', 0, 15);
  if (line !== 'HTTP/1.1 200 OK') throw new Error(`The gateway says ${line}.`);
}

async function countPages(gateway: Gateway): Promise<number> {
  const counts: number[] = [];
  for (let time = 0; time < 11; time += 1) {
    await sleep(30);
    clearTouched(gateway.pid);
    await ask(gateway);
    await sleep(3);
    counts.push(touchedPages(gateway.pid));
  }
  return counts.sort((a, b) => a - b)[5] ?? 0;
}

async function step(programs: string, gateway: Gateway): Promise<Share[]> {
  await sleep(32_000); // from here on its timers stand still (still.ts)
  const file = join(scratch, 'steps');
  const tracer = spawn(join(programs, 'steps'), [String(gateway.pid), file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => tracer.once('exit', resolve));
  await new Promise<void>((resolve, reject) => {
    tracer.stdout.once('data', resolve);
    void ended.then(() => {
      reject(new Error('The gateway could not be traced: is ptrace allowed here, and nobody else at it?'));
    });
  });
  await ask(gateway);
  await sleep(500); // what follows the answer
  tracer.kill('SIGTERM');
  await ended;
  const bytes = readFileSync(file);
  const addresses = new BigUint64Array(
    bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length - (bytes.length % 8)),
  );
  return sharesOf(addresses, {
    memory: readFileSync(`/proc/${gateway.pid}/maps`, 'utf8'),
    compiled: readFileSync(compiledMap(gateway.pid), 'utf8'),
    root,
  });
}

const programs = buildPrograms(here);
const flags = [
  '--import',
  new URL('./still.ts', import.meta.url).pathname,
  '--perf-basic-prof',
  '--interpreted-frames-native-stack',
];
const gateway = await startGateway(programs, flags);
for (let count = 0; count < warmUps; count += 1) await ask(gateway);
const pages = await countPages(gateway);
const shares = await step(programs, gateway);
const all = shares.at(-1);
if (all === undefined) throw new Error('Nothing was counted.');
if (values.json) {
  const { instructions, lines: code_lines, pages: code_pages } = all;
  process.stdout.write(`${JSON.stringify({ touched_pages: pages, instructions, code_lines, code_pages })}\n`);
} else {
  const row = ({ name, instructions, lines, pages: code }: Share) =>
    `| ${name} | ${instructions} | ${lines} | ${code} |`;
  const most = shares.slice(0, Number(values.rows)).map(row);
  const rows = [row(all), ...most];
  process.stdout.write(
    `Pages touched by a request, data and code: ${pages}\n\n| at work | instructions | code lines | code pages |\n| --- | --- | --- | --- |\n${rows.join('\n')}\n`,
  );
}
await stopAll();
process.exit(0);
