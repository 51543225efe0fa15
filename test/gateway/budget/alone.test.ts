import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { dataFolder } from '../../../domain/process/data-folder.ts';
import { Books } from '../../../gateway/usage/books.ts';
import { identityOf } from '../../../gateway/usage/process-identity.ts';
import { CountingBackend, Process, freePort, untilServing } from '../../fixtures/budget/storm.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'muster-alone-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe('a gateway alone', () => {
  let backend: CountingBackend;
  let gateway: Process;
  beforeEach(async () => {
    backend = new CountingBackend();
    const address = `http://127.0.0.1:${await backend.listen()}`;
    const routes = join(folder, 'routes.json');
    // Each answer uses 10 tokens; as many are set aside.
    const budgets = [{ id: 'all', period: 'total', limitTokens: 300, sliceTokens: 30 }];
    const services = [{ name: 'chat', endpoints: [address] }];
    writeFileSync(routes, JSON.stringify({ services, policy: { budgets } }));
    const port = await freePort();
    gateway = new Process('gateway/main.ts', port, {
      ...{ MUSTER_DATA_DIR: folder, MUSTER_LOG_LEVEL: 'silent', MUSTER_GATEWAY_ROUTES: routes },
      ...{ MUSTER_GATEWAY_PORT: String(port), MUSTER_GRPC_PORT: '0', MUSTER_GATEWAY_WARM_UP_MS: '0' },
    });
  });
  afterEach(async () => {
    await gateway.kill();
    await backend.close();
  });

  let asked = 0;
  const ask = async (): Promise<number> => {
    const { status } = await fetch(`http://127.0.0.1:${gateway.port}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-request-id': `r${(asked += 1)}` },
      body: JSON.stringify({ model: 'chat', max_tokens: 2 }),
    });
    return status;
  };
  const start = async (): Promise<void> => {
    gateway.start();
    await untilServing(gateway, 'chat');
  };
  const askUntilRefused = async (): Promise<void> => {
    for (let time = 0; time < 100; time += 1) if ((await ask()) === 429) return;
    throw new Error('it is never refused');
  };

  test('remembers after kill -9 what was used, and loses no more than the slices that it held', async () => {
    for (let kill = 0; kill < 2; kill += 1) {
      await start();
      for (let time = 0; time < 6; time += 1) expect(await ask()).toBe(200);
      await gateway.kill();
    }
    await start();
    await askUntilRefused();
    const used = backend.answered.size * 10;
    expect(used).toBeLessThanOrEqual(300);
    // Two kills, and at each at most the slice in use and the one that was leased ahead.
    expect(used).toBeGreaterThanOrEqual(300 - 2 * 60 - 10);
  }, 120_000);

  test('remembers after a clean end what was used, and loses nothing', async () => {
    for (let end = 0; end < 2; end += 1) {
      await start();
      for (let time = 0; time < 6; time += 1) expect(await ask()).toBe(200);
      await gateway.kill('SIGTERM');
    }
    await start();
    await askUntilRefused();
    expect(backend.answered.size).toBe(30);
  }, 120_000);

  test('refuses for the moment, soon and not as used up, while another process has its journal', async () => {
    const other = spawn('sleep', ['60']);
    try {
      const journals = join(folder, 'gateway', 'budgets');
      const { pid, startedAt } = identityOf(other.pid!)!;
      mkdirSync(journals, { recursive: true });
      writeFileSync(join(journals, 'leases-0.lock'), `${pid} ${startedAt} x`);
      writeFileSync(join(journals, 'leases.processes'), '1');
      await start();
      const beginMs = performance.now();
      expect(await ask()).toBe(503);
      expect(performance.now() - beginMs).toBeLessThan(9_000);
      other.kill('SIGKILL');
      for (let time = 0; time < 100 && (await ask()) !== 200; time += 1) await sleep(100);
      expect(backend.answered.size).toBe(1);
    } finally {
      other.kill('SIGKILL');
    }
  }, 60_000);
});

test('books in a folder that cannot be used are kept in memory, and it is said', async () => {
  const logs: string[] = [];
  writeFileSync(join(folder, 'gateway'), 'a file where the folder should be');
  const books = await Books.open({
    folder: dataFolder(folder),
    gatewayId: 'g',
    processes: 1,
    isShared: false,
    logger: pino({ level: 'info' }, { write: (line: string) => logs.push(line) }),
  });
  expect(books.accounting.journal).toBeUndefined();
  expect(logs.join('')).toContain('counted in memory alone');
  await books.close();
});
