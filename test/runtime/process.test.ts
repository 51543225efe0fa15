import { afterEach, describe, expect, test } from '@jest/globals';
import { mkdirSync, mkdtempSync, copyFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ModelServer } from '../fixtures/runtime/server.ts';
import { fixtureModel, startModelServer } from '../fixtures/runtime/server.ts';

describe('the model server as a process', () => {
  let server: ModelServer | undefined;
  const folders: string[] = [];
  afterEach(async () => {
    await server?.end('SIGKILL');
    server = undefined;
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  });
  function scratch(): string {
    const folder = mkdtempSync(join(tmpdir(), 'muster-runtime-'));
    folders.push(folder);
    return folder;
  }

  test.each([
    ['no model file', () => undefined, /model|onnx/i],
    [
      'an empty model file',
      (folder: string) => writeFileSync(join(folder, 'model.onnx'), ''),
      /model\.onnx.*empty/,
    ],
    [
      'a broken model file',
      (folder: string) => writeFileSync(join(folder, 'model.onnx'), 'not a model'),
      /model\.onnx/,
    ],
  ])('%s: it ends with 1 and one line that says so', async (_name, prepare, says) => {
    const folder = scratch();
    prepare(folder);
    server = await startModelServer(['--model_name=bad', `--model_dir=${folder}`]);
    expect(server.process.exitCode).toBe(1);
    expect(server.errors()).toMatch(says);
    expect(server.errors().trim().split('\n')).toHaveLength(1);
  });

  test('an unknown flag ends it with 2', async () => {
    server = await startModelServer(['--model_name=x', '--model_dir=/tmp', '--nonsense=1']);
    expect(server.process.exitCode).toBe(2);
    expect(server.errors()).toContain('nonsense');
  });

  test('every datatype of ONNX goes in and comes out, 64-bit integers exactly', async () => {
    server = await startModelServer(['--model_name', 'echo', '--model_dir', fixtureModel('echo')]);
    const cases: [string, string, string][] = [
      ['BOOL', 'BOOL', '[true,false]'],
      ['UINT8', 'UINT8', '[0,255]'],
      ['INT64', 'INT64', '[9007199254740993,-9223372036854775808]'],
      ['UINT64', 'UINT64', '[18446744073709551615,1]'],
      ['DOUBLE', 'FP64', '[0.1,-2.5]'],
      ['STRING', 'BYTES', '["häuser","b"]'],
    ];
    const metadata = (await server.get('/v2/models/echo')).body as {
      inputs: { name: string; datatype: string }[];
    };
    const zeros = (datatype: string) =>
      datatype === 'BYTES' ? '["",""]' : datatype === 'BOOL' ? '[false,false]' : '[0,0]';
    for (const [type, datatype, data] of cases) {
      const inputs = metadata.inputs
        .filter((i) => i.datatype !== 'FP16')
        .map(
          (i) =>
            `{"name":"${i.name}","shape":[2],"datatype":"${i.datatype}","data":${i.name === `in_${type}` ? data : zeros(i.datatype)}}`,
        );
      const half = { name: 'in_FLOAT16', shape: [2], datatype: 'FP16', parameters: { binary_data_size: 4 } };
      const head = new TextEncoder().encode(
        `{"inputs":[${inputs.join(',')},${JSON.stringify(half)}],"outputs":[{"name":"out_${type}"}]}`,
      );
      const answer = await fetch(`${server.url}/v2/models/echo/infer`, {
        method: 'POST',
        headers: { 'inference-header-content-length': String(head.length) },
        body: Buffer.concat([head, new Uint8Array(4)]),
      });
      const text = await answer.text();
      expect(`${datatype} ${text.replaceAll(' ', '')}`).toContain(`"data":${data}`);
    }
  });

  test('serves many models of one folder', async () => {
    const folder = scratch();
    for (const name of ['one', 'two']) {
      mkdirSync(join(folder, name));
      copyFileSync(join(fixtureModel('echo'), 'model.onnx'), join(folder, name, 'model.onnx'));
    }
    server = await startModelServer(['--model_name=many', `--model_dir=${folder}`]);
    expect((await server.get('/v2/models')).body).toMatchObject({ models: ['one', 'two'] });
    expect((await server.get('/v2/models/two/ready')).status).toBe(200);
  });

  const slow = (rounds: number) => ({
    inputs: [{ name: 'rounds', shape: [], datatype: 'INT64', data: [rounds] }],
  });

  test('finishes a request in flight on SIGTERM, turns away health checks, and ends with 0', async () => {
    server = await startModelServer(['--model_name=slow', `--model_dir=${fixtureModel('slow')}`]);
    const inFlight = server.post('/v2/models/slow/infer', slow(800));
    await new Promise((resolve) => setTimeout(resolve, 100));
    const ended = server.end('SIGTERM');
    expect((await inFlight).status).toBe(200);
    expect(await ended).toBe(0);
  });

  test('answers health checks while a model computes, and refuses what its queue cannot hold', async () => {
    server = await startModelServer([
      '--model_name=slow',
      `--model_dir=${fixtureModel('slow')}`,
      '--max_queue=1',
    ]);
    const first = server.post('/v2/models/slow/infer', slow(600));
    const others = Array.from({ length: 4 }, () => server!.post('/v2/models/slow/infer', slow(1)));
    expect((await server.get('/v2/health/live')).status).toBe(200);
    const statuses = (await Promise.all(others)).map((answer) => answer.status);
    expect(statuses).toContain(503);
    expect((await first).status).toBe(200);
  });

  test('refuses a body over its limit', async () => {
    server = await startModelServer([
      '--model_name=echo',
      `--model_dir=${fixtureModel('echo')}`,
      '--max_body_bytes=1000',
    ]);
    expect((await server.post('/v2/models/echo/infer', 'x'.repeat(2000))).status).toBe(413);
  });

  test('embeds text: unit vectors, mean of the tokens, as numbers or base64', async () => {
    server = await startModelServer(['--model_name=encoder', `--model_dir=${fixtureModel('encoder')}`]);
    const ask = (body: object) => server!.post('/v1/embeddings', { model: 'encoder', ...body });
    const { status, body } = await ask({ input: ['a b', 'a'] });
    expect(status).toBe(200);
    const { data, usage } = body as { data: { embedding: number[] }[]; usage: { prompt_tokens: number } };
    expect(data).toHaveLength(2);
    for (const { embedding } of data) expect(Math.hypot(...embedding)).toBeCloseTo(1, 5);
    expect(usage.prompt_tokens).toBeGreaterThan(0);
    const base64 = (await ask({ input: 'a', encoding_format: 'base64' })).body as {
      data: { embedding: string }[];
    };
    expect(Buffer.from(base64.data[0]!.embedding, 'base64').readFloatLE(0)).toBeCloseTo(
      data[1]!.embedding[0]!,
      6,
    );
    expect((await ask({ input: [] })).status).toBe(400);
    expect((await ask({ input: 'a', model: 'other' })).status).toBe(404);
  });
});
