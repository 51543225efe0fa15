import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI, { toFile } from 'openai';
import { requirePart } from '../fixtures/require.ts';
import { hasProc, hasPython } from './machine.ts';
import { pidOf } from './processes.ts';
import type { Role } from './processes.ts';
import type { Stack } from './stack.ts';
import { createStack, kill } from './stack.ts';

const whole = requirePart(
  'python3 with venv, and /proc',
  hasPython() && hasProc(),
  'the whole stack needs both',
);

/** A real batch on a real model server, while every process is killed in turn. */
describe('a batch', () => {
  let stack: Stack;

  beforeAll(async () => {
    if (!hasPython() || !hasProc()) return;
    stack = await createStack();
    stack.start('--samples');
    await stack.waitReady('tiny-llm', 300_000);
  }, 600_000);
  afterAll(async () => {
    await stack.dispose();
  }, 60_000);

  const client = () => new OpenAI({ baseURL: `${stack.gatewayUrl}/v1`, apiKey: 'none', maxRetries: 5 });

  whole(
    'ends with each line once, whoever is killed on the way',
    async () => {
      const ids = Array.from({ length: 150 }, (_, at) => `line-${at}`);
      const lines = ids.map((id, at) =>
        JSON.stringify({
          custom_id: id,
          method: 'POST',
          url: '/v1/chat/completions',
          body: {
            model: at % 50 === 7 ? 'no-such-model' : 'tiny-llm',
            max_tokens: 16,
            messages: [{ role: 'user', content: `say ${at}` }],
          },
        }),
      );
      const file = await client().files.create({
        file: await toFile(Buffer.from(lines.join('\n')), 'in.jsonl'),
        purpose: 'batch',
      });
      const { id } = await client().batches.create({
        input_file_id: file.id,
        endpoint: '/v1/chat/completions',
        completion_window: '24h',
      });
      for (const role of ['worker', 'gateway', 'api', 'temporal'] satisfies Role[]) {
        await sleep(700);
        const victim = pidOf(stack.dataDir, role);
        if (victim !== undefined) kill(victim);
      }
      const until = Date.now() + 240_000;
      let batch = await look(id);
      while (batch?.status !== 'completed') {
        if (Date.now() > until)
          throw new Error(`not in time: ${JSON.stringify(batch)}\n${stack.output().slice(-3000)}`);
        await sleep(500);
        batch = await look(id);
      }
      expect(batch.request_counts).toEqual({ total: 150, completed: 147, failed: 3 });
      const answered = await read(batch.output_file_id);
      const failed = await read(batch.error_file_id);
      expect([...answered, ...failed].map(({ custom_id: customId }) => customId).sort()).toEqual(
        [...ids].sort(),
      );
      expect(answered.every(({ response }) => response.status_code === 200)).toBe(true);
      expect(failed.map(({ response }) => response.status_code)).toEqual([404, 404, 404]);
    },
    400_000,
  );

  async function look(id: string): Promise<OpenAI.Batch | null> {
    return client()
      .batches.retrieve(id)
      .catch(() => null); // whoever answers it was killed just now
  }

  async function read(id: string | null | undefined) {
    const text = await (await client().files.content(id ?? '')).text();
    return text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { custom_id: string; response: { status_code: number } });
  }
});
