import { describe, expect, test } from '@jest/globals';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { acceptsConnections, Ports } from '../../../../activities/local/replica/port.ts';
import { nextProbeMs, probe } from '../../../../activities/local/replica/probe.ts';
import { stopServer } from '../../../../activities/local/replica/process.ts';
import { findByArguments, processIdentity } from '../../../../activities/local/replica/process-identity.ts';
import { FileServer } from '../../../fixtures/agent/file-server.ts';
import { eventually, isAlive } from '../../../fixtures/agent/waiting.ts';

const never = new AbortController().signal;
const readiness = { path: '/ready', periodMs: 1_000, timeoutMs: 300, failureThreshold: 3 };

function script(code: string): ChildProcess {
  return spawn(process.execPath, ['-e', code], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] });
}

describe('processIdentity', () => {
  test('stays while a process lives, differs between processes and is null when it is gone', async () => {
    const own = await processIdentity(process.pid);
    expect(own).not.toBeNull();
    expect(await processIdentity(process.pid)).toBe(own);
    const child = script('setTimeout(() => {}, 60000)');
    const theirs = await processIdentity(child.pid!);
    expect(theirs).not.toBe(own);
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
    expect(await processIdentity(child.pid!)).toBeNull();
  });

  test('can also be had from ps, for systems without /proc', async () => {
    expect(await processIdentity(process.pid, 'darwin')).toMatch(/\d\d:\d\d:\d\d \d{4}$/);
    expect(await processIdentity(2 ** 22 + 1, 'darwin')).toBeNull();
  });

  test('is found for a process by the end of its arguments', async () => {
    const child = script('setTimeout(() => {}, 61000 + 17)');
    expect(await findByArguments(['-e', 'setTimeout(() => {}, 61000 + 17)'])).toEqual([child.pid]);
    child.kill('SIGKILL');
    expect(await findByArguments(['no', 'such', 'arguments', '4711'])).toEqual([]);
  });
});

describe('stopServer', () => {
  test('ends the whole group, also what ignores SIGTERM or was left behind by its leader', async () => {
    const leader = script(`
      const { spawn } = require('node:child_process');
      const child = spawn(process.execPath, ['-e', 'process.on("SIGTERM", () => {}); setInterval(() => {}, 1000); console.log("up")'], { stdio: ['ignore', 'pipe', 'ignore'] });
      child.stdout.once('data', () => console.log(child.pid));
      process.on('SIGTERM', () => process.exit(0));`);
    const [output] = (await once(leader.stdout!, 'data')) as [Buffer];
    const inner = Number(output.toString());
    await stopServer(leader.pid!, (await processIdentity(leader.pid!))!, 5_000);
    await eventually('both to end', () => !isAlive(leader.pid!) && !isAlive(inner));
  });

  test('leaves a stranger alone that has the pid now', async () => {
    const child = script('setTimeout(() => {}, 60000)');
    await stopServer(child.pid!, 'another/identity', 0);
    expect(isAlive(child.pid!)).toBe(true);
    child.kill('SIGKILL');
  });
});

describe('Ports', () => {
  test('gives no port twice in a row, nor one that was noted', async () => {
    const ports = new Ports();
    const given = await Promise.all(Array.from({ length: 20 }, () => ports.take()));
    expect(new Set(given).size).toBe(20);
  });

  test('knows an open port from a closed one', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    expect(await acceptsConnections('127.0.0.1', port, 1_000)).toBe(true);
    await new Promise((resolve) => server.close(resolve));
    expect(await acceptsConnections('127.0.0.1', port, 1_000)).toBe(false);
  });
});

describe('probe', () => {
  test.each([
    [200, true],
    [204, true],
    [302, true],
    [404, false],
    [503, false],
  ])('takes %d for ready: %s', async (status, isReady) => {
    const server = new FileServer();
    server.handler = (_, response) => {
      response.writeHead(status).end();
      return true;
    };
    await server.listen();
    expect(await probe(readiness, '127.0.0.1', Number(new URL(server.url).port), never)).toBe(isReady);
    await server.close();
  });

  test('takes a server that does not answer in time for not ready', async () => {
    const server = new FileServer();
    server.handler = () => true;
    await server.listen();
    expect(await probe(readiness, '127.0.0.1', Number(new URL(server.url).port), never)).toBe(false);
    await server.close();
  });

  test('is asked fast while a replica starts, ever slower, and by its period afterwards', () => {
    const pauses = Array.from({ length: 60 }, (_, n) => nextProbeMs(readiness, true, n));
    expect(pauses[0]).toBe(100);
    expect(pauses.at(-1)).toBe(1_000);
    expect([...pauses].sort((a, b) => a - b)).toEqual(pauses);
    expect(nextProbeMs(readiness, false, 0)).toBe(1_000);
  });
});
