import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ProcessSpec } from '../../../control/up/child.ts';
import { identify, isAlive, type ProcessIdentity } from '../../../control/up/process-identity.ts';
import { onShellLeash } from '../../../control/up/shell-leash.ts';
import { Supervisor } from '../../../control/up/supervisor.ts';
import { eventually } from '../../fixtures/agent/waiting.ts';

const leash = new URL('../../../control/up/leash.ts', import.meta.url).href;
const forever = 'setInterval(() => {}, 1000)';

describe('the children of the embedded parent', () => {
  let folder: string;
  let supervisor: Supervisor;
  let said: string[];
  let busy: string[];
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'muster-children-'));
    said = [];
    busy = [];
    supervisor = new Supervisor({
      onChange: () => undefined,
      onCrash: (message) => said.push(message),
      onPortInUse: (name) => busy.push(name),
    });
  });
  afterEach(async () => {
    supervisor.kill();
    await supervisor.stop(1000);
    rmSync(folder, { recursive: true, force: true });
  });

  function node(name: string, code: string): ProcessSpec {
    return {
      name,
      command: [process.execPath, '--import', leash, '-e', code],
      leash: 'node',
      env: { PATH: process.env['PATH'] },
      cwd: folder,
      logFile: join(folder, `${name}.log`),
      isReady: () => Promise.resolve(true),
    };
  }
  const stateOf = (name: string) => supervisor.states().find((state) => state.name === name);
  const running = (name: string) =>
    eventually(`${name} to run`, () => (stateOf(name)?.phase === 'running' ? stateOf(name)?.pid : null));

  test('one that is killed is started again, and that is said once', async () => {
    supervisor.start(node('worker', forever));
    const first = await running('worker');
    process.kill(first, 'SIGKILL');
    const second = await eventually('another process', () => {
      const state = stateOf('worker');
      return state?.phase === 'running' && state.pid !== first ? state.pid : null;
    });
    expect(second).not.toBe(first);
    expect(stateOf('worker')?.restarts).toBe(1);
    expect(said).toHaveLength(1);
    expect(said[0]).toContain('worker');
  });

  test('one that ends at once is started again ever more slowly, and said once', async () => {
    supervisor.start(node('api', 'process.exit(1)'));
    await eventually('three restarts', () => (stateOf('api')?.restarts ?? 0) >= 3);
    expect(said).toHaveLength(1);
  });

  test('exit code 3 before it was ever ready means that its port is taken', async () => {
    supervisor.start({ ...node('gateway', 'process.exit(3)'), isReady: () => Promise.resolve(false) });
    await eventually('the word of it', () => busy.length > 0);
    expect(busy).toEqual(['gateway']);
  });

  test('all end in order: the gateway first, Temporal last, and nobody is left', async () => {
    const order = join(folder, 'order');
    const quits = (name: string) =>
      `process.on('SIGTERM', () => { require('fs').appendFileSync(${JSON.stringify(order)}, '${name} '); process.exit(0) }); ${forever}`;
    for (const name of ['temporal', 'api', 'worker', 'agent', 'gateway'])
      supervisor.start(node(name, quits(name)));
    for (const name of ['temporal', 'api', 'worker', 'agent', 'gateway']) await running(name);
    const identities = supervisor.identities();
    await new Promise((resolve) => setTimeout(resolve, 500));
    await supervisor.stop(20_000);
    expect(readFileSync(order, 'utf8').trim()).toBe('gateway agent worker api temporal');
    expect(identities.filter(isAlive)).toEqual([]);
  });

  test('who does not end when the time is over is killed', async () => {
    supervisor.start(node('worker', `process.on('SIGTERM', () => {}); ${forever}`));
    await running('worker');
    await new Promise((resolve) => setTimeout(resolve, 500));
    const identities = supervisor.identities();
    await supervisor.stop(300);
    expect(identities.filter(isAlive)).toEqual([]);
  });

  /** A parent of its own process, so that it can be killed without a word. */
  async function parentOf(spec: object): Promise<{ parent: ChildProcess; children: ProcessIdentity[] }> {
    const code = `
      import { Supervisor } from ${JSON.stringify(new URL('../../../control/up/supervisor.ts', import.meta.url).href)};
      const none = () => undefined;
      const supervisor = new Supervisor({ onChange: none, onCrash: none, onPortInUse: none });
      import { existsSync } from 'node:fs';
      const spec = ${JSON.stringify(spec)};
      const isReady = async () => spec.pidFile === undefined || existsSync(spec.pidFile);
      supervisor.start({ ...spec, env: process.env, isReady });
      setInterval(() => {
        const pids = supervisor.identities().map((i) => i.pid);
        if (pids.length > 0) console.log(JSON.stringify(pids));
      }, 100);`;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', code], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let last: number[] = [];
    parent.stdout.on('data', (chunk: Buffer) => {
      const line = chunk.toString().trim().split('\n').at(-1) ?? '';
      if (line.endsWith(']')) last = JSON.parse(line) as number[];
    });
    const wanted = 'pidFile' in spec ? 2 : 1;
    await eventually('the children', () => last.length >= wanted);
    await new Promise((resolve) => setTimeout(resolve, 500));
    return { parent, children: last.map((pid) => identify(pid)!) };
  }

  test('a node child ends within seconds when its parent is killed without a word', async () => {
    const { parent, children } = await parentOf(node('worker', forever));
    parent.kill('SIGKILL');
    await once(parent, 'exit');
    await eventually('its end', () => children.filter(isAlive).length === 0);
    expect(children.filter(isAlive)).toEqual([]);
  });

  test('so does a program that is not ours, on its leash of shell', async () => {
    const pidFile = join(folder, 'program.pid');
    const { parent, children } = await parentOf({
      ...node('temporal', ''),
      command: onShellLeash(pidFile, ['sleep', '600']),
      leash: 'shell',
      pidFile,
    });
    expect(existsSync(pidFile)).toBe(true);
    parent.kill('SIGKILL');
    await once(parent, 'exit');
    await eventually('their end', () => children.filter(isAlive).length === 0);
    expect(children.filter(isAlive)).toEqual([]);
  });

  test('when the leash itself is killed, the program is ended before another is started', async () => {
    const pidFile = join(folder, 'program.pid');
    supervisor.start({
      ...node('temporal', ''),
      command: onShellLeash(pidFile, ['sleep', '600']),
      leash: 'shell',
      pidFile,
    });
    const shell = await running('temporal');
    const program = await eventually('the program', () => {
      const pid = existsSync(pidFile) ? Number(readFileSync(pidFile, 'utf8')) : 0;
      return pid > 0 ? identify(pid) : null;
    });
    process.kill(shell, 'SIGKILL');
    await eventually('its end', () => !isAlive(program));
    await eventually('a new one', () => {
      const pid = existsSync(pidFile) ? Number(readFileSync(pidFile, 'utf8')) : 0;
      return pid !== program.pid && identify(pid) !== null;
    });
    expect(isAlive(program)).toBe(false);
  });
});
