import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';
import { hear, prompt, said } from '../../fixtures/resilience/stand-in.ts';

/** Server processes are killed and started again while requests run: none is lost, none is cut, none is charged twice. */
describe('a storm of kill -9', () => {
  let gateway: TestGateway;
  const servers: { child: ChildProcess; port: number }[] = [];
  beforeEach(async () => {
    gateway = await startTestGateway();
  });
  afterEach(async () => {
    await gateway.close();
    for (const { child } of servers.splice(0)) child.kill('SIGKILL');
  });

  async function launch(port: number): Promise<{ child: ChildProcess; port: number }> {
    const script = new URL('../../fixtures/resilience/model-process.ts', import.meta.url).pathname;
    const child = spawn(process.execPath, [script, String(port)], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    return { child, port: Number(line.toString()) };
  }

  test('loses no request, cuts no stream, and counts each token once', async () => {
    for (let i = 0; i < 3; i += 1) servers.push(await launch(0));
    const ready = servers.map(({ port }) => `http://127.0.0.1:${String(port)}`);
    const resilience = {
      all: {
        midStream: { mode: 'continue' as const, continuationsMax: 5 },
        retry: { budgetPerSecond: 1000 },
      },
    };
    gateway.store.apply({ ...table([service('m', { ready })], 1), policy: { resilience } }, -1);
    let isOver = false;
    let [plain, streams, tokens] = [0, 0, 0];
    const wrong: unknown[] = [];
    const caller = async (stream: boolean): Promise<void> => {
      while (!isOver) {
        const body = {
          model: 'm',
          prompt,
          stream,
          ...(stream ? { stream_options: { include_usage: true } } : {}),
        };
        const answer = await postJson(`${gateway.url}/v1/completions`, body).catch((error: unknown) => ({
          status: 0,
          text: String(error),
        }));
        if (stream) {
          streams += 1;
          const heard = hear(answer.text);
          tokens += heard.usage?.['completion_tokens'] ?? 0;
          if (heard.text !== said || heard.dones !== 1 || heard.errors !== 0) wrong.push(answer);
        } else {
          plain += 1;
          if (answer.status !== 200) wrong.push(answer);
          else
            tokens += (JSON.parse(answer.text) as { usage: { completion_tokens: number } }).usage
              .completion_tokens;
        }
      }
    };
    const callers = Array.from({ length: 10 }, (_, at) => caller(at % 2 === 0));
    for (let kills = 0; kills < 12; kills += 1) {
      const at = kills % servers.length;
      const { child, port } = servers[at]!;
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
      servers[at] = await launch(port);
      await sleep(150);
    }
    isOver = true;
    await Promise.all(callers);
    expect(wrong).toEqual([]);
    expect(plain).toBeGreaterThan(50);
    expect(streams).toBeGreaterThan(20);
    const metrics = (await get(`${gateway.url}/metrics`)).text;
    const counted = /^muster_gateway_usage_output_tokens_total\{.*\} (\d+)$/m.exec(metrics)?.[1];
    expect(Number(counted)).toBe(tokens);
    expect(metrics).toMatch(/muster_gateway_resilience_continuations_total\{.*\} [1-9]/);
  }, 60_000);
});
