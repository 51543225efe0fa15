import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { join } from 'node:path';
import { pythonEnvironment } from '../fixtures/environments.ts';
import { requirePart } from '../fixtures/require.ts';
import { hasProc, hasPython } from './machine.ts';
import type { Stack } from './stack.ts';
import { createStack, root, run } from './stack.ts';

const whole = requirePart(
  'python3 with venv, and /proc',
  hasPython() && hasProc(),
  'the whole stack needs both',
);
const deploy = (stack: Stack, manifest: string) =>
  stack.cli('deploy', '-f', join(root, 'deploy/samples', manifest), '--wait', '--timeout', '900s');

/** The clients that users hold, unmodified, and every model that the README names. */
describe('official clients and all README models', () => {
  let stack: Stack;
  let python: string;

  beforeAll(async () => {
    if (!hasPython() || !hasProc()) return;
    python = await pythonEnvironment(['openai==3.54.0', 'tritonclient[http]==2.73.0', 'numpy==2.4.6']);
    stack = await createStack();
    stack.start('--samples');
    await stack.waitReady('iris', 300_000);
    await stack.waitReady('tiny-llm', 300_000);
  }, 900_000);
  afterAll(async () => {
    await stack.dispose();
  }, 60_000);

  async function client(script: string, ...args: string[]): Promise<Record<string, unknown>> {
    const done = await run([join(root, 'test/e2e/clients', script), ...args], stack.env, python);
    if (done.code !== 0) throw new Error(done.stderr);
    return JSON.parse(done.stdout) as Record<string, unknown>;
  }

  whole(
    'PyPI openai chats, streams and lists',
    async () => {
      const seen = await client('openai_client.py', `${stack.gatewayUrl}/v1`, 'tiny-llm');
      expect(seen['models']).toEqual(['iris', 'tiny-llm']);
      expect(seen['streamed']).toBe(seen['chat']);
      expect(seen['stream_usage']).toBe(seen['completion_tokens']);
      expect(seen['retrieved']).toBe('tiny-llm');
      expect(seen['unknown_model']).toMatchObject({ status: 404, code: 'model_not_found' });
      expect(seen['wrong_kind']).toMatchObject({ status: 400 });
    },
    120_000,
  );

  whole(
    'tritonclient infers with JSON and binary tensors, and loads and unloads',
    async () => {
      const seen = await client('triton_client.py', stack.gatewayUrl.replace('http://', ''), 'iris');
      expect(seen).toMatchObject({
        live: true,
        ready: true,
        model_ready: true,
        unknown_ready: false,
        id: 'abc',
        ready_after_unload: false,
        ready_after_load: true,
        bad_shape: { status: '400' },
        unknown: { status: '404' },
      });
      expect(seen['binary']).toEqual(seen['json']);
      expect(seen['index']).toEqual(
        expect.arrayContaining([expect.objectContaining({ name: 'iris', state: 'READY' })]),
      );
    },
    120_000,
  );

  whole(
    'MLServer serves the same iris, described by YAML alone',
    async () => {
      expect(await deploy(stack, 'more/iris-mlserver.yaml')).toMatchObject({ code: 0 });
      const input = {
        name: 'predict',
        shape: [2, 4],
        datatype: 'FP32',
        data: [5.1, 3.5, 1.4, 0.2, 6.7, 3.0, 5.2, 2.3],
      };
      const answer = await fetch(`${stack.gatewayUrl}/v2/models/iris-mlserver/infer`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ inputs: [input] }),
      });
      expect(await answer.json()).toMatchObject({ outputs: [{ name: 'predict', data: [0, 2] }] });
    },
    1_000_000,
  );

  whole(
    'SmolLM2 answers a question',
    async () => {
      expect(await deploy(stack, 'more/smollm2.yaml')).toMatchObject({ code: 0 });
      const said = await stack.cli('chat', 'smollm2', 'What is the capital of France?');
      expect(said.stdout).toContain('Paris');
    },
    1_000_000,
  );

  whole(
    'MiniLM embeds: related sentences are nearer than unrelated ones',
    async () => {
      expect(await deploy(stack, 'more/minilm.yaml')).toMatchObject({ code: 0 });
      const answer = await fetch(`${stack.gatewayUrl}/v1/embeddings`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          model: 'minilm',
          input: ['A cat sits on the mat.', 'A kitten lies on a rug.', 'Interest rates rose again.'],
        }),
      });
      const { data } = (await answer.json()) as { data: { embedding: number[] }[] };
      const [cat, kitten, rates] = data.map((d) => d.embedding) as [number[], number[], number[]];
      const dot = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * (b[i] ?? 0), 0);
      expect(cat).toHaveLength(384);
      expect(dot(cat, kitten)).toBeGreaterThan(dot(cat, rates) + 0.1);
    },
    1_000_000,
  );
});
