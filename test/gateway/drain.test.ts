import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Agent, fetch } from 'undici';
import { dataFolder } from '../../domain/process/data-folder.ts';
import type { ServiceRoute } from '../../domain/route-table/route-table.schema.ts';
import { startBackend } from '../fixtures/gateway/backends.ts';
import type { Backend } from '../fixtures/gateway/backends.ts';
import { startControlApi, until } from '../fixtures/gateway/control-api.ts';
import type { FakeControlApi } from '../fixtures/gateway/control-api.ts';
import { service, table } from '../fixtures/gateway/tables.ts';

/** What became of one request, in one word. */
type Outcome = 'answered' | 'not begun' | `lost: ${string}`;

describe('a gateway that is told to stop under load', () => {
  let folder: string;
  let child: ChildProcess;
  let api: FakeControlApi;
  let model: Backend;
  let agent: Agent;
  let out = '';
  beforeEach(async () => {
    out = '';
    folder = await mkdtemp(join(tmpdir(), 'muster-drain-'));
    const { internalToken } = dataFolder(folder);
    await mkdir(dirname(internalToken), { recursive: true });
    await writeFile(internalToken, 'secret');
    agent = new Agent({ keepAliveTimeout: 60_000, pipelining: 1 });
    api = await startControlApi('secret');
    model = await startBackend((seen, response) => {
      const body = JSON.parse(seen.body.toString()) as { stream?: boolean };
      if (body.stream !== true) {
        setTimeout(() => response.end('{"ok":true}'), 30);
        return;
      }
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      let count = 0;
      const timer = setInterval(() => {
        count += 1;
        if (count < 12) response.write(`data: {"choices":[{"index":0,"text":"${String(count)}"}]}\n\n`);
        else {
          clearInterval(timer);
          response.end('data: [DONE]\n\n');
        }
      }, 50);
    });
  });
  afterEach(async () => {
    child.kill('SIGKILL');
    await agent.destroy();
    await model.close();
    await api.close();
    await rm(folder, { recursive: true, force: true });
  });

  const routes = (state: ServiceRoute['state'], version: number) => ({
    ...table(
      [
        service('plain', { ready: [model.address] }),
        service('queued', { ready: [model.address] }),
        service('sleepy', state === 'Asleep' ? { state, targets: [] } : { ready: [model.address] }),
      ],
      version,
    ),
    policy: { qos: { concurrency: { services: { 'default/queued': { perService: 1 } } } } },
  });

  async function start(): Promise<string> {
    child = spawn(process.execPath, ['gateway/main.ts'], {
      env: {
        PATH: process.env['PATH'],
        MUSTER_DATA_DIR: folder,
        MUSTER_GATEWAY_PORT: '0',
        MUSTER_GRPC_PORT: '0',
        MUSTER_API_URL: api.url,
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    child.stdout?.on('data', (chunk: Buffer) => (out += chunk.toString()));
    await until(() => /"url":"(http[^"]+)".*"listening"/.test(out));
    const url = /"url":"(http[^"]+)".*"listening"/.exec(out)?.[1] ?? '';
    await until(async () => (await fetch(`${url}/v2/health/ready`, { dispatcher: agent })).status === 200);
    return url;
  }

  async function ask(url: string, model_: string, stream: boolean): Promise<Outcome> {
    try {
      const answer = await fetch(`${url}/v1/completions`, {
        method: 'POST',
        body: JSON.stringify({ model: model_, prompt: 'x', stream }),
        dispatcher: agent,
      });
      const text = await answer.text();
      const isWhole = stream ? text.endsWith('data: [DONE]\n\n') : text === '{"ok":true}';
      return answer.status === 200 && isWhole ? 'answered' : `lost: ${String(answer.status)} ${text}`;
    } catch (error) {
      const cause = (error as Error).cause as { code?: string } | undefined;
      return cause?.code === 'ECONNREFUSED' ? 'not begun' : `lost: ${cause?.code ?? String(error)}`;
    }
  }

  test('answers every request that reached it: plain, streamed, queued, and held for a service that wakes up', async () => {
    api.first = JSON.stringify(routes('Asleep', 1));
    const url = await start();
    const outcomes: Record<string, Outcome[]> = { plain: [], streamed: [], queued: [], held: [] };
    // Also at the first that is lost: without a gateway, or an agent, they would ask and ask without a pause.
    const isOver = (): boolean =>
      Object.values(outcomes).some((list) => list.some((outcome) => outcome !== 'answered'));
    const keepAsking = async (kind: string, name: string, stream: boolean): Promise<void> => {
      while (!isOver()) outcomes[kind]?.push(await ask(url, name, stream));
    };
    const clients = [
      ...Array.from({ length: 8 }, () => keepAsking('plain', 'plain', false)),
      ...Array.from({ length: 8 }, () => keepAsking('streamed', 'plain', true)),
      ...Array.from({ length: 6 }, () => keepAsking('queued', 'queued', false)),
      ...Array.from({ length: 5 }, async () => outcomes['held']?.push(await ask(url, 'sleepy', false))),
    ];
    const hasBegun = () =>
      ['plain', 'streamed', 'queued'].every((kind) => (outcomes[kind]?.length ?? 0) >= 8);
    await until(() => hasBegun() || isOver());
    await until(() => api.reports.some((report) => 'name' in report));
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await sleep(300);
    api.send(routes('Serving', 2));
    await Promise.all(clients);
    expect(await ended).toEqual([0, null]);
    for (const [kind, list] of Object.entries(outcomes)) {
      expect({ kind, lost: list.filter((outcome) => outcome.startsWith('lost')) }).toEqual({
        kind,
        lost: [],
      });
    }
    expect(outcomes['held']).toEqual(Array(5).fill('answered'));
  }, 60_000);
});
