import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import type { ModelServer } from '../fixtures/runtime/server.ts';
import { startModelServer } from '../fixtures/runtime/server.ts';

const models = new URL('../../deploy/samples/models/', import.meta.url).pathname;

interface Output {
  readonly name: string;
  readonly shape: number[];
  readonly datatype: string;
  readonly data: number[];
}

/** The sample classifier in our model server, beside what scikit-learn itself answered when it was trained. */
describe('iris in the model server', () => {
  let server: ModelServer;
  const expected = JSON.parse(readFileSync(`${models}expected.json`, 'utf8')) as Record<string, unknown>;
  const rows = [
    [5.1, 3.5, 1.4, 0.2],
    [6.7, 3.0, 5.2, 2.3],
  ];
  const input = { name: 'X', shape: [2, 4], datatype: 'FP32', data: rows.flat() };

  beforeAll(async () => {
    server = await startModelServer(['--model_name=iris', `--model_dir=${models}iris`]);
  });
  afterAll(async () => {
    await server.end();
  });

  async function infer(body: unknown) {
    const answer = await server.post('/v2/models/iris/infer', body);
    return { status: answer.status, ...(answer.body as { outputs: Output[]; id?: string; error?: string }) };
  }

  test('gives the labels and probabilities that scikit-learn gave', async () => {
    const inputs = expected['inputs'] as number[][];
    const { outputs } = await infer({
      inputs: [{ name: 'X', shape: [inputs.length, 4], datatype: 'FP32', data: inputs.flat() }],
    });
    expect(outputs[0]?.data).toEqual(expected['labels']);
    const probabilities = (expected['probabilities'] as number[][]).flat();
    outputs[1]?.data.forEach((value, index) => {
      expect(value).toBeCloseTo(probabilities[index] ?? -1, 4);
    });
  });

  test('answers V1 and V2 with the same labels', async () => {
    const v1 = await server.post('/v1/models/iris:predict', { instances: rows });
    expect(v1).toEqual({ status: 200, body: { predictions: [0, 2] } });
    expect((await infer({ id: 'x', inputs: [input] })).id).toBe('x');
  });

  test('takes binary tensors, and gives them back when asked to', async () => {
    const tensor = new Uint8Array(Float32Array.from(rows.flat()).buffer);
    const head = new TextEncoder().encode(
      JSON.stringify({
        inputs: [{ name: 'X', shape: [2, 4], datatype: 'FP32', parameters: { binary_data_size: 32 } }],
        outputs: [{ name: 'label', parameters: { binary_data: true } }],
      }),
    );
    const answer = await fetch(`${server.url}/v2/models/iris/infer`, {
      method: 'POST',
      headers: { 'inference-header-content-length': String(head.length) },
      body: Buffer.concat([head, tensor]),
    });
    expect(answer.status).toBe(200);
    const headLength = Number(answer.headers.get('inference-header-content-length'));
    const bytes = await answer.arrayBuffer();
    const labels = new BigInt64Array(bytes.slice(headLength));
    expect([...labels]).toEqual([0n, 2n]);
  });

  test('says what the model takes and gives', async () => {
    expect((await server.get('/v2/models/iris')).body).toMatchObject({
      name: 'iris',
      inputs: [{ name: 'X', datatype: 'FP32', shape: [-1, 4] }],
    });
    expect((await server.get('/v1/models')).body).toMatchObject({
      models: expect.arrayContaining(['iris']) as unknown,
    });
    expect((await server.get('/v1/models/iris')).body).toMatchObject({ name: 'iris', ready: true });
    expect((await server.get('/v2')).body).toMatchObject({ extensions: expect.any(Array) as unknown });
  });

  test.each([
    ['a wrong shape', { ...input, shape: [2, 3], data: [1, 2, 3, 4, 5, 6] }, /X.*\[-1, ?4\]|X.*4/],
    ['data that do not fill the shape', { ...input, data: [1] }, /X/],
    ['another datatype', { ...input, datatype: 'INT32', data: [1, 2, 3, 4, 5, 6, 7, 8] }, /X.*FP32/],
    ['an unknown datatype', { ...input, datatype: 'FLOAT' }, /FLOAT/],
    ['an input that the model does not have', { ...input, name: 'Y' }, /Y|X/],
    ['text where numbers belong', { ...input, data: ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'] }, /X/],
  ])('refuses %s with 400, and names the input', async (_name, bad, says) => {
    const answer = await infer({ inputs: [bad] });
    expect(answer.status).toBe(400);
    expect(answer.error).toMatch(says);
  });

  test.each([
    ['GET', '/v2/models/nope', 404],
    ['POST', '/v2/models/nope/infer', 404],
    ['POST', '/v1/models/nope:predict', 404],
    ['GET', '/nowhere', 404],
  ])('%s %s answers %d with a body', async (method, path, status) => {
    const answer =
      method === 'GET' ? await server.get(path) : await server.post(path, { instances: [], inputs: [] });
    expect(answer.status).toBe(status);
    expect(answer.body).toBeInstanceOf(Object);
  });

  test.each([
    ['/v1/chat/completions', 'Model iris does not support Chat Completion API'],
    ['/v1/completions', 'Model iris does not support Completions API'],
    ['/openai/v1/embeddings', 'Model iris does not support Embeddings API'],
  ])("tells OpenAI's clients at %s what it is not, in their own shape", async (path, message) => {
    const answer = await server.post(path, { model: 'iris', messages: [], prompt: '', input: 'text' });
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({ error: { message } });
  });

  test('is unloaded and loaded again by the repository extension', async () => {
    expect((await server.post('/v2/repository/index', '')).body).toEqual(expect.stringContaining('"iris"'));
    expect((await server.post('/v2/repository/models/iris/unload', '')).status).toBe(200);
    expect((await server.get('/v2/models/iris/ready')).status).not.toBe(200);
    expect((await infer({ inputs: [input] })).status).toBeGreaterThanOrEqual(400);
    expect((await server.post('/v2/repository/models/iris/load', '')).status).toBe(200);
    expect((await infer({ inputs: [input] })).status).toBe(200);
    expect((await server.post('/v2/repository/models/nope/load', '')).status).toBeGreaterThanOrEqual(400);
  });

  test('counts what it did', async () => {
    const { body } = await server.get('/metrics');
    expect(body).toMatch(/request_predict_seconds_count\{model_name="iris"\} [1-9]/);
  });
});
