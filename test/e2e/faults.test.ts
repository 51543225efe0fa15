import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { requirePart } from '../fixtures/require.ts';
import type { Role } from './processes.ts';
import { pidOf, processesOf } from './processes.ts';
import type { Stack } from './stack.ts';
import { createStack, isReady, kill } from './stack.ts';
import { chatRequest, irisRequest, startTraffic } from './traffic.ts';
import { hasProc, hasPython } from './machine.ts';

const whole = requirePart(
  'python3 with venv, and /proc',
  hasPython() && hasProc(),
  'the whole stack needs both',
);

/** Kills one process at a time, without a warning, while requests run. */
describe('the embedded stack under kill -9', () => {
  let stack: Stack;

  beforeAll(async () => {
    if (!hasPython() || !hasProc()) return;
    stack = await createStack();
    stack.start('--samples');
    await stack.waitReady('iris', 300_000);
    await stack.waitReady('tiny-llm', 300_000);
  }, 600_000);
  afterAll(async () => {
    await stack.dispose();
  }, 60_000);

  async function bothReady(): Promise<void> {
    await stack.waitFor('iris', isReady, 'ready again');
    await stack.waitFor('tiny-llm', isReady, 'ready again');
    const until = Date.now() + 60_000;
    for (;;) {
      const answers = await Promise.all([
        post('/v2/models/iris/infer', irisRequest),
        post('/v1/chat/completions', chatRequest),
      ]);
      if (answers.every((status) => status === 200)) return;
      if (Date.now() > until) throw new Error(`no answers again: ${answers.join(', ')}`);
      await sleep(200);
    }
  }

  async function post(path: string, body: unknown): Promise<number> {
    try {
      const answer = await fetch(stack.gatewayUrl + path, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      await answer.arrayBuffer();
      return answer.status;
    } catch {
      return 0;
    }
  }

  async function returns(role: Role, before: number): Promise<void> {
    const until = Date.now() + 60_000;
    for (;;) {
      const now = pidOf(stack.dataDir, role);
      if (now !== undefined && now !== before) return;
      if (Date.now() > until) throw new Error(`${role} did not come back:\n${stack.output().slice(-3000)}`);
      await sleep(100);
    }
  }

  const bothModels = () => [
    startTraffic(stack.gatewayUrl, '/v2/models/iris/infer', irisRequest),
    startTraffic(stack.gatewayUrl, '/v1/chat/completions', chatRequest),
  ];

  const quiet: Role[] = ['api', 'worker', 'observer', 'agent', 'temporal'];
  whole.each(quiet)(
    'no request notices that the %s was killed',
    async (role) => {
      const victim = pidOf(stack.dataDir, role)!;
      const servers = [pidOf(stack.dataDir, 'iris'), pidOf(stack.dataDir, 'tiny-llm')];
      const traffic = bothModels();
      await sleep(300);
      kill(victim);
      await returns(role, victim);
      await bothReady();
      await sleep(2000);
      const [iris, chat] = await Promise.all(traffic.map((t) => t.stop()));
      expect(iris?.failures).toEqual([]);
      expect(chat?.failures).toEqual([]);
      expect(iris?.sent).toBeGreaterThan(10);
      // Model servers outlive every other process, the agent that started them too.
      expect([pidOf(stack.dataDir, 'iris'), pidOf(stack.dataDir, 'tiny-llm')]).toEqual(servers);
    },
    180_000,
  );

  const felt: Role[] = ['gateway', 'iris', 'tiny-llm'];
  whole.each(felt)(
    'all is well again after the %s was killed, with no hand',
    async (role) => {
      const victim = pidOf(stack.dataDir, role)!;
      const traffic = bothModels();
      await sleep(300);
      kill(victim);
      await returns(role, victim);
      await bothReady();
      // Requests may fail while their only server, or the gateway, is away; none does once it is back.
      const before = traffic.map((t) => t.failuresSoFar());
      await sleep(2000);
      const after = await Promise.all(traffic.map((t) => t.stop()));
      expect(after.map(({ failures }, i) => failures.slice(before[i]))).toEqual([[], []]);
      // The other model never noticed.
      if (role === 'iris') expect(after[1]?.failures).toEqual([]);
      if (role === 'tiny-llm') expect(after[0]?.failures).toEqual([]);
    },
    180_000,
  );

  whole(
    'a deployment that was under way when the worker was killed ends as if nothing had happened',
    async () => {
      const deployed = stack.cli(
        'deploy',
        'iris-two',
        '--model',
        `${stack.env['PWD'] ?? '.'}/deploy/samples/models/iris`,
        '--format',
        'onnx',
      );
      await sleep(700);
      const victim = pidOf(stack.dataDir, 'worker')!;
      kill(victim);
      expect((await deployed).code).toBe(0);
      await stack.waitReady('iris-two', 120_000);
      expect((await stack.cli('delete', 'iris-two', '--wait')).code).toBe(0);
    },
    240_000,
  );

  whole(
    'when the parent is killed nothing is left within seconds, and the next start finds all as it was',
    async () => {
      const traffic = bothModels();
      kill(pidOf(stack.dataDir, 'parent')!);
      const until = Date.now() + 40_000;
      while (processesOf(stack.dataDir).length > 0 && Date.now() < until) await sleep(200);
      expect(processesOf(stack.dataDir)).toEqual([]);
      stack.start();
      await bothReady();
      const before = traffic.map((t) => t.failuresSoFar());
      await sleep(1000);
      const after = await Promise.all(traffic.map((t) => t.stop()));
      expect(after.map(({ failures }, i) => failures.slice(before[i]))).toEqual([[], []]);
    },
    240_000,
  );

  whole(
    'Ctrl-C ends everything, and no child is left',
    async () => {
      expect(await stack.interrupt()).toBe(0);
      expect(processesOf(stack.dataDir)).toEqual([]);
    },
    90_000,
  );
});
