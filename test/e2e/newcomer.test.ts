import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import { requirePart } from '../fixtures/require.ts';
import { hasProc, hasPython } from './machine.ts';
import { processesOf } from './processes.ts';
import type { Stack } from './stack.ts';
import { createStack, isReady, root } from './stack.ts';
import { chatRequest, irisRequest, startTraffic } from './traffic.ts';

const whole = requirePart(
  'python3 with venv, and /proc',
  hasPython() && hasProc(),
  'the whole stack needs both',
);

/** What a person does in the first ten minutes, with the real stack, real models and real clients. */
describe('a newcomer', () => {
  let stack: Stack;
  let scratch: string;

  beforeAll(async () => {
    if (!hasPython() || !hasProc()) return;
    scratch = mkdtempSync(join(tmpdir(), 'muster-newcomer-'));
    stack = await createStack();
    stack.start('--samples');
    await stack.waitReady('iris', 300_000);
    await stack.waitReady('tiny-llm', 300_000);
  }, 600_000);
  afterAll(async () => {
    await stack.dispose();
    rmSync(scratch, { recursive: true, force: true });
  }, 60_000);

  const file = (name: string, text: string): string => {
    const path = join(scratch, name);
    writeFileSync(path, text);
    return path;
  };

  async function post(path: string, body: unknown, headers: Record<string, string> = {}) {
    const answer = await fetch(stack.gatewayUrl + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
  }

  whole(
    'is told what to try next once the samples are ready',
    async () => {
      const until = Date.now() + 30_000;
      while (!stack.output().includes('curl') && Date.now() < until)
        await new Promise((r) => setTimeout(r, 200));
      const said = stack.output();
      expect(said).toContain(stack.gatewayUrl);
      expect(said.match(/curl /g)?.length).toBeGreaterThanOrEqual(3);
      expect(said).toMatch(/Temporal/);
      expect(statSync(join(stack.dataDir, 'token')).mode & 0o777).toBe(0o600);
    },
    60_000,
  );

  whole('gets real answers from iris by V2, V1 and by its own prefix', async () => {
    const expected = JSON.parse(
      readFileSync(join(root, 'deploy/samples/models/expected.json'), 'utf8'),
    ) as unknown;
    expect(expected).toBeDefined();
    const v2 = await post('/v2/models/iris/infer', irisRequest);
    expect(v2.status).toBe(200);
    expect(v2.body).toMatchObject({ model_name: 'iris' });
    const v1 = await post('/v1/models/iris:predict', {
      instances: [
        [5.1, 3.5, 1.4, 0.2],
        [6.7, 3.0, 5.2, 2.3],
      ],
    });
    expect(v1).toEqual({ status: 200, body: { predictions: [0, 2] } });
    const prefixed = await post('/serving/default/iris/v2/models/iris/infer', irisRequest);
    expect(prefixed.status).toBe(200);
    const hosted = await post('/v2/models/iris/infer', irisRequest, { 'x-muster-namespace': 'default' });
    expect(hosted.status).toBe(200);
  });

  whole(
    'uses the official openai client for Node, streaming included',
    async () => {
      const client = new OpenAI({ baseURL: `${stack.gatewayUrl}/v1`, apiKey: 'unused', maxRetries: 0 });
      const whole = await client.chat.completions.create({
        ...chatRequest,
        temperature: 0,
        messages: [{ role: 'user', content: 'In the beginning' }],
      });
      expect(whole.usage?.completion_tokens).toBeGreaterThan(0);
      let streamed = '';
      const stream = await client.chat.completions.create({
        ...chatRequest,
        temperature: 0,
        stream: true,
        messages: [{ role: 'user', content: 'In the beginning' }],
      });
      for await (const chunk of stream) streamed += chunk.choices[0]?.delta.content ?? '';
      expect(streamed).toBe(whole.choices[0]?.message.content);
      await expect(
        client.chat.completions.create({ ...chatRequest, model: 'nope', messages: [] }),
      ).rejects.toMatchObject({ status: 404 });
    },
    60_000,
  );

  whole("gets the protocol's own error for what is wrong", async () => {
    expect(await post('/v1/chat/completions', '{"model": "tiny-llm", ')).toMatchObject({
      status: 400,
      body: { error: { type: 'invalid_request_error' } },
    });
    expect(await post('/v1/chat/completions', { ...chatRequest, model: 'nope' })).toMatchObject({
      status: 404,
      body: { error: { code: 'model_not_found' } },
    });
    expect(await post('/v2/models/nope/infer', irisRequest)).toMatchObject({
      status: 404,
      body: { error: expect.any(String) as unknown },
    });
    expect(await post('/v1/models/nope:predict', { instances: [] })).toMatchObject({
      status: 404,
      body: { error: expect.any(String) as unknown },
    });
    const wrongShape = { inputs: [{ name: 'X', shape: [1, 3], datatype: 'FP32', data: [1, 2, 3] }] };
    expect(await post('/v2/models/iris/infer', wrongShape)).toMatchObject({
      status: 400,
      body: { error: expect.stringContaining('X') as unknown },
    });
  });

  whole(
    'reads the state of things by the command line',
    async () => {
      const list = await stack.cli('get');
      expect(list.stdout).toMatch(/iris .*True/);
      const json = JSON.parse((await stack.cli('get', 'isvc', 'iris', '-o', 'json')).stdout) as {
        status: unknown;
      };
      expect(json.status).toMatchObject({ modelStatus: { transitionStatus: 'UpToDate' } });
      expect((await stack.cli('describe', 'iris')).stdout).toMatch(/Events/);
      expect((await stack.cli('status')).code).toBe(0);
      expect((await stack.cli('logs', 'tiny-llm')).stdout).toMatch(/READY/);
      const infer = await stack.cli('infer', 'iris', '-d', JSON.stringify(irisRequest));
      expect(JSON.parse(infer.stdout)).toMatchObject({ model_name: 'iris' });
      expect((await stack.cli('chat', 'tiny-llm', 'In the beginning')).stdout.trim()).not.toBe('');
      expect((await stack.cli('get', 'isvc', 'nope')).code).toBe(4);
    },
    120_000,
  );

  whole(
    "is refused a broken manifest with KServe's own words, and nothing changes",
    async () => {
      const before = (await stack.cli('get', '-o', 'json')).stdout;
      const path = file(
        'broken.yaml',
        manifest('Broken_Name', './models/iris', '    minReplicas: 3\n    maxReplicas: 1\n'),
      );
      const refused = await stack.cli('deploy', '-f', path);
      expect(refused.code).toBe(5);
      expect(refused.stderr).toContain(
        'a InferenceService name must consist of lower case alphanumeric characters',
      );
      const second = await stack.cli(
        'deploy',
        '-f',
        file(
          'broken2.yaml',
          manifest('fine', `${root}deploy/samples/models/iris`, '    minReplicas: 3\n    maxReplicas: 1\n'),
        ),
      );
      expect(second.stderr).toContain("'MinReplicas' cannot be greater than MaxReplicas");
      expect((await stack.cli('get', '-o', 'json')).stdout).toBe(before);
    },
    60_000,
  );

  whole(
    'sees a plan before anything is done',
    async () => {
      const planned = await stack.cli('plan', '-f', join(root, 'deploy/samples/iris.yaml'));
      expect(planned.code).toBe(0);
      expect(planned.stdout).toMatch(/muster-onnx/);
    },
    60_000,
  );

  whole(
    'updates a service without one failed request',
    async () => {
      const traffic = startTraffic(stack.gatewayUrl, '/v2/models/iris/infer', irisRequest);
      const before = await stack.get('iris');
      const path = file(
        'iris-two.yaml',
        manifest('iris', `${root}deploy/samples/models/iris`, '    minReplicas: 2\n'),
      );
      expect((await stack.cli('deploy', '-f', path, '--wait')).code).toBe(0);
      const after = await stack.waitReady('iris');
      const { sent, failures } = await traffic.stop();
      expect(failures).toEqual([]);
      expect(sent).toBeGreaterThan(20);
      expect(after.metadata.generation).toBe((before?.metadata.generation ?? 0) + 1);
      expect(after.status?.modelStatus?.copies?.totalCopies).toBe(2);
    },
    180_000,
  );

  whole(
    'keeps the old revision when an update does not come up, and is told why',
    async () => {
      const bad = file('model.onnx', 'this is not a model');
      const traffic = startTraffic(stack.gatewayUrl, '/v2/models/iris/infer', irisRequest);
      const deployed = await stack.cli(
        'deploy',
        '-f',
        file('iris-bad.yaml', manifest('iris', bad, '')),
        '--wait',
        '--timeout',
        '120s',
      );
      expect(deployed.code).toBe(1);
      const blocked = await stack.waitFor(
        'iris',
        (o) => o.status?.modelStatus?.transitionStatus === 'BlockedByFailedLoad',
        'blocked',
      );
      const { failures } = await traffic.stop();
      expect(failures).toEqual([]);
      expect(blocked.status?.modelStatus?.lastFailureInfo).toMatchObject({ reason: 'ModelLoadFailed' });
      expect(blocked.status?.conditions?.find((c) => c.type === 'Ready')?.status).toBe('True');
      const good = file('iris-good.yaml', manifest('iris', `${root}deploy/samples/models/iris`, ''));
      expect((await stack.cli('deploy', '-f', good, '--wait')).code).toBe(0);
      expect((await stack.waitReady('iris')).status?.modelStatus?.lastFailureInfo).toBeUndefined();
    },
    240_000,
  );

  whole(
    'stops and starts a service, and its spec stays',
    async () => {
      const before = await stack.get('iris');
      expect((await stack.cli('stop', 'iris')).code).toBe(0);
      await stack.waitFor(
        'iris',
        (o) => o.status?.conditions?.some((c) => c.type === 'Stopped' && c.status === 'True') ?? false,
        'stopped',
      );
      expect((await post('/v2/models/iris/infer', irisRequest)).status).toBe(503);
      expect((await stack.cli('start', 'iris')).code).toBe(0);
      const after = await stack.waitReady('iris');
      expect(after.spec).toEqual(before?.spec);
      expect((await post('/v2/models/iris/infer', irisRequest)).status).toBe(200);
    },
    120_000,
  );

  whole(
    'deletes a service, and nothing of it is left',
    async () => {
      expect(
        (
          await stack.cli(
            'deploy',
            'short',
            '--model',
            `${root}deploy/samples/models/iris`,
            '--format',
            'onnx',
            '--wait',
          )
        ).code,
      ).toBe(0);
      expect(processesOf(stack.dataDir).some((p) => p.command.includes('short'))).toBe(true);
      expect((await stack.cli('delete', 'short', '--wait')).code).toBe(0);
      expect(processesOf(stack.dataDir).some((p) => p.command.includes('short'))).toBe(false);
      expect((await post('/v2/models/short/infer', irisRequest)).status).toBe(404);
    },
    120_000,
  );

  whole(
    'a second start on the same folder is refused plainly',
    async () => {
      const second = await stack.cli('up');
      expect(second.code).toBe(3);
      expect(second.stderr).toMatch(/already running/i);
    },
    60_000,
  );

  whole(
    'Ctrl-C ends all, and the next start finds everything as it was',
    async () => {
      const before = await stack.get('iris');
      expect(await stack.interrupt()).toBe(0);
      expect(processesOf(stack.dataDir)).toEqual([]);
      stack.start();
      await stack.waitFor('iris', (o) => isReady(o), 'ready after a restart');
      const until = Date.now() + 60_000;
      let status = 0;
      while (status !== 200 && Date.now() < until)
        status = await post('/v2/models/iris/infer', irisRequest).then(
          (a) => a.status,
          () => 0,
        );
      expect(status).toBe(200);
      const after = await stack.get('iris');
      expect(after?.metadata.generation).toBe(before?.metadata.generation);
      expect(after?.spec).toEqual(before?.spec);
      await stack.interrupt();
    },
    180_000,
  );
});

function manifest(name: string, storageUri: string, more: string): string {
  return `apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: ${name}
spec:
  predictor:
${more}    model:
      modelFormat:
        name: onnx
      storageUri: ${storageUri}
`;
}
