import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onShellLeash } from '../../../control/up/shell-leash.ts';
import { eventually } from '../../fixtures/agent/waiting.ts';

const leash = new URL('../../../control/up/leash.ts', import.meta.url).href;

let folder: string;
const started: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'muster-leash-'));
});
afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

describe('a node process on its leash', () => {
  /** @param code may say things on standard output */
  function leashed(code: string): ChildProcess & { said: () => string } {
    const file = join(folder, 'child.mjs');
    writeFileSync(file, code);
    const child = spawn(process.execPath, ['--import', leash, file], {
      env: { PATH: process.env['PATH'], MUSTER_LEASH: String(process.pid) },
      stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
    });
    started.push(child);
    let said = '';
    child.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString()));
    return Object.assign(child, { said: () => said });
  }
  const letGo = (child: ChildProcess) => {
    (child.stdio[3] as unknown as { destroy(): void }).destroy();
  };
  const ready = "console.log('ready'); setInterval(() => {}, 1000);";

  test('gets SIGTERM when the pipe closes, and may end in its own way', async () => {
    const child = leashed(`process.on('SIGTERM', () => process.exit(7)); ${ready}`);
    await eventually('it to run', () => child.said().includes('ready'));
    letGo(child);
    expect(await once(child, 'exit')).toEqual([7, null]);
  });

  test('is killed when it does not mind SIGTERM', async () => {
    const child = leashed(`process.on('SIGTERM', () => console.log('no')); ${ready}`);
    await eventually('it to run', () => child.said().includes('ready'));
    letGo(child);
    expect(await once(child, 'exit')).toEqual([null, 'SIGKILL']);
    expect(child.said()).toContain('no');
  });

  test('ends when it has nothing to do: the leash alone keeps nobody alive', async () => {
    const child = leashed("console.log('done');");
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  test('has threads and forked children that are on no leash of their own', async () => {
    const child = leashed(`
      import { fork } from 'node:child_process';
      import { Worker } from 'node:worker_threads';
      import { fileURLToPath } from 'node:url';
      if (process.argv[2] === 'fork') process.send('fork ' + process.env.MUSTER_LEASH);
      else {
        const worker = new Worker("require('worker_threads').parentPort.postMessage('thread ' + process.env.MUSTER_LEASH)", { eval: true });
        worker.on('message', (word) => console.log(word));
        worker.on('exit', (code) => console.log('thread ended ' + code));
        const forked = fork(fileURLToPath(import.meta.url), ['fork']);
        forked.on('message', (word) => { console.log(word); forked.disconnect(); });
        forked.on('exit', (code) => console.log('fork ended ' + code));
      }`);
    expect(await once(child, 'exit')).toEqual([0, null]);
    expect(child.said().trim().split('\n').sort()).toEqual([
      'fork ended 0',
      'fork undefined',
      'thread ended 0',
      'thread undefined',
    ]);
  });
});

describe('a program on the leash of shell', () => {
  function leashed(...command: string[]): ChildProcess {
    const [program = '', ...args] = onShellLeash(join(folder, 'pid'), command);
    const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'inherit'] });
    started.push(child);
    return child;
  }
  const pid = () => eventually('its pid', () => Number(readOr(join(folder, 'pid'))) || null);
  const isGone = (process_: number) => {
    try {
      process.kill(process_, 0);
      return readOr(`/proc/${process_}/stat`).includes(') Z ');
    } catch {
      return true;
    }
  };

  test('passes its exit code on', async () => {
    expect(await once(leashed('sh', '-c', 'exit 5'), 'exit')).toEqual([5, null]);
  });

  test('gets the SIGTERM that the shell gets', async () => {
    const child = leashed('sleep', '600');
    const program = await pid();
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([143, null]);
    await eventually('its end', () => isGone(program));
  });

  test('is killed when it does not mind SIGTERM after the pipe has closed', async () => {
    const child = leashed(
      process.execPath,
      '-e',
      "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)",
    );
    const program = await pid();
    await new Promise((resolve) => setTimeout(resolve, 500));
    child.stdin?.end();
    await once(child, 'exit');
    expect(isGone(program)).toBe(true);
  });

  test('ends even when the shell was killed', async () => {
    const child = leashed('sleep', '600');
    const program = await pid();
    child.kill('SIGKILL');
    await once(child, 'exit');
    child.stdin?.destroy();
    await eventually('its end', () => isGone(program));
  });
});

function readOr(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
