import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import type { Server } from 'node:net';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../../control/api/main.ts', import.meta.url));

interface Api {
  readonly child: ChildProcess;
  /** What it logged so far. */
  readonly log: () => string;
}

describe('the process of the control API', () => {
  let folder: string;
  const children: ChildProcess[] = [];
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'muster-api-'));
  });
  afterAll(async () => {
    for (const child of children) child.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  });

  function start(environment: Record<string, string> = {}): Api {
    const child = spawn(process.execPath, [main], {
      env: {
        PATH: process.env['PATH'] ?? '',
        MUSTER_DATA_DIR: folder,
        MUSTER_API_PORT: '0',
        MUSTER_TEMPORAL_PORT: '1',
        ...environment,
      },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    children.push(child);
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    return { child, log: () => text };
  }
  /** The address that it says it listens on. */
  async function listening({ child, log }: Api): Promise<string> {
    for (;;) {
      const port = /"port":(\d+),"msg":"the control API listens"/.exec(log())?.[1];
      if (port !== undefined) return `http://127.0.0.1:${port}`;
      if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}: ${log()}`);
      await once(child.stdout!, 'data');
    }
  }
  async function exit({ child }: Api): Promise<number | null> {
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    return child.exitCode;
  }

  test('makes its tokens, serves the stock runtimes, refuses a second one, and drains on SIGTERM', async () => {
    const api = start();
    const url = await listening(api);
    const token = await readFile(join(folder, 'token'), 'utf8');
    for (const name of ['token', 'internal-token']) {
      expect((await stat(join(folder, name))).mode & 0o777).toBe(0o600);
    }
    const headers = { authorization: `Bearer ${token.trim()}` };
    const answer = await fetch(`${url}/apis/serving.kserve.io/v1alpha1/clusterservingruntimes`, { headers });
    expect(await answer.text()).toContain('muster-onnx');

    const second = start();
    expect(await exit(second)).toBe(4);
    expect(second.log()).toMatch(new RegExp(`in use by process ${api.child.pid ?? 0} .*MUSTER_DATA_DIR`));

    const internal = (await readFile(join(folder, 'internal-token'), 'utf8')).trim();
    const stream = await fetch(`${url}/internal/routes/stream?gateway=g`, {
      headers: { authorization: `Bearer ${internal}` },
    });
    api.child.kill('SIGTERM');
    expect(await stream.text()).toContain('"services":[]');
    expect(await exit(api)).toBe(0);
    expect(api.log()).not.toContain(token.trim());
    expect(api.log()).not.toContain(internal);
  });

  test('starts again on the folder that it left behind after kill -9', async () => {
    const first = start();
    await listening(first);
    first.child.kill('SIGKILL');
    await exit(first);
    const again = start();
    const url = await listening(again);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    again.child.kill('SIGTERM');
    expect(await exit(again)).toBe(0);
  });

  test('says plainly that its port is taken, and by which variable to choose another', async () => {
    const taken: Server = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const api = start({ MUSTER_API_PORT: String(port) });
    expect(await exit(api)).toBe(3);
    expect(api.log()).toMatch(new RegExp(`Port ${port} .* is in use by another program.*MUSTER_API_PORT`));
    taken.close();
  });

  test('names the variable that is wrong', async () => {
    const api = start({ MUSTER_API_PORT: 'http' });
    expect(await exit(api)).toBe(1);
    expect(api.log()).toMatch(/MUSTER_API_PORT is wrong/);
  });
});
