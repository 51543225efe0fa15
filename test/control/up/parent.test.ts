import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import type { ProcessSpec } from '../../../control/up/child.ts';
import { endLeftovers, readChildren } from '../../../control/up/leftovers.ts';
import { appendLog, openLog, rotateBySize } from '../../../control/up/log-file.ts';
import { Parent } from '../../../control/up/parent.ts';
import { prepareFolder } from '../../../control/up/prepare-folder.ts';
import { identify, isAlive } from '../../../control/up/process-identity.ts';
import {
  childEnvironment,
  ownProcesses,
  temporalProcess,
  wantedPorts,
} from '../../../control/up/process-list.ts';
import { resolvePorts } from '../../../control/up/resolve-ports.ts';
import { stateFile, type UpState } from '../../../control/up/state.ts';
import { MusterError } from '../../../domain/errors.ts';
import { parseSettings } from '../../../domain/process/settings.schema.ts';
import { eventually } from '../../fixtures/agent/waiting.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'muster-parent-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe('the embedded parent', () => {
  const parents: Parent[] = [];
  afterEach(async () => {
    for (const parent of parents.splice(0)) await parent.stop();
  });

  function spec(name: string, code: string): ProcessSpec {
    return {
      name,
      command: [
        process.execPath,
        '--import',
        new URL('../../../control/up/leash.ts', import.meta.url).href,
        '-e',
        code,
      ],
      leash: 'node',
      env: { PATH: process.env['PATH'] },
      cwd: folder,
      logFile: join(folder, 'logs', `${name}.log`),
      isReady: () => Promise.resolve(true),
    };
  }
  const forever = 'setInterval(() => {}, 1000)';

  function parent(own: readonly ProcessSpec[], temporal: (() => Promise<ProcessSpec>) | null) {
    const states: UpState[] = [];
    const data = prepareFolder(folder, '1.0.0');
    const made = new Parent({
      settings: parseSettings({ MUSTER_DATA_DIR: folder }, '/'),
      folder: data,
      detached: false,
      now: new Date('2026-01-01T00:00:00Z'),
      log: pino({ level: 'silent' }),
      own,
      temporal,
      publish: (state) => states.push(state),
    });
    parents.push(made);
    return { made, states, run: data.run, last: () => states.at(-1) };
  }

  test('is ready when all of its processes run; its state and their pids are on disk', async () => {
    const { made, last, run } = parent([spec('api', forever), spec('gateway', forever)], () =>
      Promise.resolve(spec('temporal', forever)),
    );
    const outcome = made.run();
    await eventually('it to be ready', () => last()?.phase === 'ready');
    const pids = last()!.processes.map((p) => p.pid);
    expect(last()?.processes.map((p) => p.name)).toEqual(['api', 'gateway', 'temporal']);
    expect(JSON.parse(readFileSync(stateFile(run), 'utf8'))).toEqual(last());
    const children = readChildren(run);
    expect(children.map((c) => c.pid).sort()).toEqual([...pids].sort());
    await made.stop();
    expect(await outcome).toBeNull();
    expect(last()?.phase).toBe('stopped');
    expect(children.filter(isAlive)).toEqual([]);
    expect(readChildren(run)).toEqual([]);
  });

  test('without any Temporal server everything is stopped again, and the reason is the outcome', async () => {
    const missing = new MusterError('environment_missing', 'No Temporal server was found.');
    const { made, last } = parent([spec('api', forever)], () => Promise.reject(missing));
    expect(await made.run()).toBe(missing);
    expect(last()?.phase).toBe('stopped');
    expect(last()?.processes.find((p) => p.name === 'api')?.pid).toBeNull();
  });

  test('a port that was taken after the look at it is said with its variable', async () => {
    const taken = { ...spec('api', 'process.exit(3)'), isReady: () => Promise.resolve(false) };
    const outcome = await parent([taken], null).made.run();
    expect(outcome).toMatchObject({ code: 'port_in_use' });
    expect(outcome?.message).toContain('MUSTER_API_PORT');
  });

  test('a second call to stop kills at once', async () => {
    const { made, last } = parent([spec('api', `process.on('SIGTERM', () => {}); ${forever}`)], null);
    const outcome = made.run();
    await eventually('it to run', () => last()?.phase === 'ready');
    await new Promise((resolve) => setTimeout(resolve, 400));
    void made.stop();
    await eventually('it to stop', () => last()?.phase === 'stopping');
    // Reasons to stop that come within a second are one.
    await new Promise((resolve) => setTimeout(resolve, 1100));
    await made.stop();
    expect(await outcome).toBeNull();
  });

  test('reasons to stop that come together, as when a terminal closes, are one: all end in their own time', async () => {
    const done = join(folder, 'done');
    const slow = `process.on('SIGTERM', () => setTimeout(() => {
      require('fs').writeFileSync(${JSON.stringify(done)}, 'drained'); process.exit(0) }, 300)); ${forever}`;
    const { made, last } = parent([spec('agent', slow)], null);
    const outcome = made.run();
    await eventually('it to run', () => last()?.phase === 'ready');
    await new Promise((resolve) => setTimeout(resolve, 400));
    await Promise.all([made.stop(), made.stop(), made.stop()]);
    expect(await outcome).toBeNull();
    expect(readFileSync(done, 'utf8')).toBe('drained');
  });

  test('model servers of an agent that could not end them are ended with the stack', async () => {
    const { made, last } = parent([spec('api', forever)], null);
    const outcome = made.run();
    await eventually('it to run', () => last()?.phase === 'ready');
    const server = spawn('sleep', ['600'], { stdio: 'ignore' });
    const gone = once(server, 'exit');
    const { started } = identify(server.pid!)!;
    mkdirSync(join(folder, 'agent'), { recursive: true });
    const replicas = [{ process: { pid: server.pid, identity: started } }];
    writeFileSync(join(folder, 'agent', 'iris.json'), JSON.stringify({ replicas }));
    await made.stop();
    await outcome;
    await gone;
    expect(server.signalCode).toBe('SIGTERM');
  });

  test('what a killed parent left is ended by its record', async () => {
    const { made, run, last } = parent([spec('api', forever)], null);
    void made.run();
    await eventually('it to run', () => last()?.phase === 'ready');
    const [left] = readChildren(run);
    expect(await endLeftovers(run, 5000)).toBe(1);
    expect(isAlive(left!)).toBe(false);
    expect(await endLeftovers(join(folder, 'nowhere'), 100)).toBe(0);
  });
});

describe('what the processes are given', () => {
  const settings = parseSettings({ MUSTER_DATA_DIR: '/data', MUSTER_GATEWAY_PORT: '9080' }, '/');

  test('ports, folder and the word to stop model servers; Temporal by its port when it is ours', () => {
    const env = childEnvironment({ HOME: '/home/me', TEMPORAL_ADDRESS: '' }, settings);
    expect(env).toMatchObject({
      HOME: '/home/me',
      MUSTER_DATA_DIR: '/data',
      MUSTER_GATEWAY_PORT: '9080',
      MUSTER_API_URL: 'http://127.0.0.1:8090',
      MUSTER_AGENT_ON_EXIT: 'stop',
      TEMPORAL_ADDRESS: undefined,
    });
    expect(parseSettings(env, '/')).toEqual({ ...settings, agentOnExit: 'stop' });
  });

  test('a Temporal server of others is passed on, and its ports are not ours to try', () => {
    const external = parseSettings({ TEMPORAL_ADDRESS: 'temporal:7233' }, '/home');
    expect(childEnvironment({}, external)['TEMPORAL_ADDRESS']).toBe('temporal:7233');
    expect(wantedPorts(external).map((w) => w.variable)).toEqual(['MUSTER_GATEWAY_PORT', 'MUSTER_API_PORT']);
    expect(wantedPorts(settings)).toHaveLength(4);
  });

  test('a ready control API is one whose health answers', async () => {
    let healthy = false;
    const server = createServer((_, response) => response.writeHead(healthy ? 200 : 503).end()).listen(
      0,
      '127.0.0.1',
    );
    await once(server, 'listening');
    const port = String((server.address() as AddressInfo).port);
    const own = parseSettings(
      { MUSTER_DATA_DIR: folder, MUSTER_API_PORT: port, MUSTER_GATEWAY_PORT: port },
      '/',
    );
    const specs = ownProcesses(own, prepareFolder(folder, '1'), {});
    const isReady = (name: string) => specs.find((s) => s.name === name)!.isReady(10);
    expect(await isReady('api')).toBe(false);
    healthy = true;
    expect(await isReady('api')).toBe(true);
    expect(await isReady('gateway')).toBe(true);
    expect(await isReady('worker')).toBe(false);
    server.close();
  });

  test("Temporal's server keeps its state in the data folder and shows its UI", () => {
    const temporal = temporalProcess('/bin/temporal', settings, prepareFolder(folder, '1'), {});
    expect(temporal.command.join(' ')).toContain(
      `/bin/temporal server start-dev --ip 127.0.0.1 --port 7233 --ui-port 8233 --db-filename ${folder}/temporal/temporal.db`,
    );
  });

  test('port 0 becomes a free one, each another, and the rest stays', async () => {
    const env = { MUSTER_GATEWAY_PORT: '0', MUSTER_API_PORT: '0', MUSTER_NODE: 'n' };
    const resolved = await resolvePorts(parseSettings({ ...env, MUSTER_DATA_DIR: '/data' }, '/'), env);
    expect(resolved.gatewayPort).toBeGreaterThan(0);
    expect(resolved.apiPort).toBeGreaterThan(0);
    expect(resolved.apiPort).not.toBe(resolved.gatewayPort);
    expect(resolved).toMatchObject({ dataDir: '/data', temporalPort: 7233, node: 'n' });
    expect(resolved.apiUrl).toBe(`http://127.0.0.1:${resolved.apiPort}`);
  });
});

describe('log files', () => {
  test('of earlier starts are kept as .1 to .3', () => {
    const file = join(folder, 'api.log');
    for (const words of ['first', 'second', 'third', 'fourth', 'fifth']) {
      const log = openLog(file);
      writeSync(log, words);
      closeSync(log);
    }
    const kept = ['', '.1', '.2', '.3'].map((end) => readFileSync(`${file}${end}`, 'utf8'));
    expect(kept).toEqual(['fifth', 'fourth', 'third', 'second']);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  test('that grow too large are moved aside under the process that writes them', () => {
    const file = join(folder, 'api.log');
    const log = appendLog(file);
    writeSync(log, 'x'.repeat(100));
    expect(rotateBySize(file, 100)).toBe(false);
    writeSync(log, 'y');
    expect(rotateBySize(file, 100)).toBe(true);
    writeSync(log, 'after');
    closeSync(log);
    expect(readFileSync(file, 'utf8')).toBe('after');
    expect(readFileSync(`${file}.1`, 'utf8')).toHaveLength(101);
    expect(rotateBySize(join(folder, 'none'))).toBe(false);
  });

  test('a restart goes on in the same file', () => {
    const file = join(folder, 'api.log');
    writeFileSync(file, 'before ');
    const log = appendLog(file);
    writeSync(log, 'after');
    closeSync(log);
    expect(readFileSync(file, 'utf8')).toBe('before after');
  });
});
