import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { identify, isAlive } from '../../../control/up/process-identity.ts';
import { runCli } from '../../fixtures/cli/run-cli.ts';

const main = new URL('../../../control/cli/main.ts', import.meta.url).pathname;

describe('muster up, status and down', () => {
  let folder: string;
  let env: Record<string, string>;
  const opened: (Server | ChildProcess)[] = [];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'muster-stack-'));
    env = {
      PATH: process.env['PATH'] ?? '',
      MUSTER_DATA_DIR: folder,
      MUSTER_GATEWAY_PORT: '0',
      MUSTER_API_PORT: '0',
      MUSTER_TEMPORAL_PORT: '0',
      MUSTER_TEMPORAL_UI_PORT: '0',
    };
  });
  afterEach(() => {
    for (const one of opened.splice(0)) {
      if ('kill' in one) one.kill('SIGKILL');
      else one.close();
    }
    rmSync(folder, { recursive: true, force: true });
  });

  async function sleeper(): Promise<ChildProcess> {
    const child = spawn('sleep', ['600'], { stdio: 'ignore' });
    await once(child, 'spawn');
    opened.push(child);
    return child;
  }
  const write = (path: string, value: unknown) => {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), JSON.stringify(value));
  };

  test('a port in use is said with its variable, nothing is started, and the lock is given back', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    opened.push(server);
    const port = (server.address() as AddressInfo).port;
    const answer = await runCli(['up'], { env: { ...env, MUSTER_API_PORT: String(port) } });
    expect(answer.code).toBe(3);
    expect(answer.stderr).toContain(`Port ${port}, wanted for the control API, is in use`);
    expect(answer.stderr).toContain('MUSTER_API_PORT');
    expect(answer.stderr.trim().split('\n')).toHaveLength(1);
    expect(readdirSync(join(folder, 'run'))).toEqual([]);
    expect(existsSync(join(folder, 'logs', 'api.log'))).toBe(false);
  });

  test('a folder of a newer Muster is refused', async () => {
    write('version', { dataFormat: 99, muster: '9.9.9' });
    const answer = await runCli(['up'], { env });
    expect(answer.code).toBe(1);
    expect(answer.stderr).toContain('made by a newer Muster (9.9.9');
  });

  test('a folder that cannot be written is said plainly', async () => {
    writeFileSync(join(folder, 'file'), '');
    const answer = await runCli(['up'], { env: { ...env, MUSTER_DATA_DIR: join(folder, 'file', 'data') } });
    expect(answer.code).toBe(1);
    expect(answer.stderr).toMatch(/data folder .* cannot be used .*Set MUSTER_DATA_DIR/);
  });

  test('a wrong variable is named, before anything is done', async () => {
    const answer = await runCli(['up'], { env: { ...env, MUSTER_GATEWAY_PORT: 'eighty' } });
    expect(answer.code).toBe(2);
    expect(answer.stderr).toContain('MUSTER_GATEWAY_PORT');
    expect(readdirSync(folder)).toEqual([]);
  });

  test('status says that nothing runs, and down has nothing to do', async () => {
    const away = { ...env, MUSTER_API_URL: 'http://127.0.0.1:1' };
    const status = await runCli(['status'], { env: away });
    expect(status.code).toBe(6);
    expect(status.stderr).toMatch(/not running on .*npx muster up/);
    const down = await runCli(['down'], { env });
    expect(down).toMatchObject({ code: 0, stdout: `Muster is not running on ${folder}.\n` });
  });

  test('down ends what a killed parent left, model servers too, and nobody whose pid was only reused', async () => {
    const [child, server, stranger] = [await sleeper(), await sleeper(), await sleeper()];
    const known = [child, server].map((one) => identify(one.pid!)!);
    write('run/parent.json', { pid: 999_999_999, started: 'never', nonce: 'dead', since: 'then' });
    write('run/children.json', [known[0], { pid: stranger.pid, started: 'another life' }]);
    write('agent/default_iris.json', {
      replicas: [{ process: { pid: server.pid, identity: known[1]!.started } }, { process: null }],
    });
    writeFileSync(join(folder, 'agent', 'broken.json'), '{');
    const answer = await runCli(['down'], { env });
    expect(answer).toMatchObject({ code: 0, stdout: 'Muster is stopped (2 left-over processes ended).\n' });
    expect(known.filter(isAlive)).toEqual([]);
    expect(isAlive(identify(stranger.pid!)!)).toBe(true);
  });

  test('down stops a living parent', async () => {
    const parent = await sleeper();
    const owner = identify(parent.pid!)!;
    write('run/parent.json', { ...owner, nonce: 'n', since: 'then' });
    expect(await runCli(['down'], { env })).toMatchObject({ code: 0, stdout: 'Muster is stopped.\n' });
    expect(isAlive(owner)).toBe(false);
  });

  test('commands find the ports that the running stack chose', async () => {
    const server = createServer((socket) => {
      socket.end('HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}');
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    opened.push(server);
    const api = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    write('run/state.json', { endpoints: { api, gateway: 'http://127.0.0.1:1' } });
    const answer = await runCli(['get', 'isvc', 'nope'], { env });
    expect(answer.code).toBe(4);
  });
});

describe('the program muster itself', () => {
  const program = (...args: string[]) =>
    spawnSync(process.execPath, [main, ...args], { encoding: 'utf8', env: { PATH: process.env['PATH'] } });

  test('exits with 2 for wrong use and shows where help is', () => {
    const { status, stderr } = program('deploi');
    expect(status).toBe(2);
    expect(stderr).toMatch(/Did you mean deploy/);
  });

  test('a missing argument is wrong use', () => {
    expect(program('stop').status).toBe(2);
  });

  test('never shows a stack, unless it is asked to', () => {
    const args = ['get', '--api', 'http://127.0.0.1:1'];
    expect(program(...args).stderr).not.toContain('    at ');
    const { stderr } = spawnSync(process.execPath, [main, ...args], {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], MUSTER_DEBUG: '1' },
    });
    expect(stderr).toContain('    at ');
  });

  test('says its version', () => {
    const { version } = JSON.parse(
      readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'),
    ) as {
      version: string;
    };
    expect(program('version').stdout).toBe(`muster ${version} (node ${process.versions.node})\n`);
  });

  test('is quiet when nobody reads on', async () => {
    const child = spawn(process.execPath, [main, '--help'], { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    child.stdout.destroy();
    await once(child, 'close');
    expect(said).toBe('');
  });
});
