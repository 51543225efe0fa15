import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ModelRepository } from '../../runtime/repository.ts';

const fixture = (name: string) => new URL(`../fixtures/runtime/${name}/model.onnx`, import.meta.url).pathname;

describe('ModelRepository', () => {
  let folder: string;
  const open: ModelRepository[] = [];
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'muster-repository-'));
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((repository) => repository.close()));
    rmSync(folder, { recursive: true, force: true });
  });

  function put(name: string, model: string | undefined): void {
    mkdirSync(join(folder, name), { recursive: true });
    const file = join(folder, name, 'model.onnx');
    if (model === undefined) writeFileSync(file, 'not a model');
    else copyFileSync(fixture(model), file);
  }
  function create(maxModels = 8): ModelRepository {
    const onLost = () => undefined;
    const repository = new ModelRepository({ folder, modelName: 'model', threads: 1, maxModels, onLost });
    open.push(repository);
    return repository;
  }

  test('serves the good models of a folder and says why a bad one is not served', async () => {
    put('good', 'echo');
    put('bad', undefined);
    const repository = create();
    await repository.loadAll();
    expect(repository.names()).toEqual(['good']);
    expect(() => repository.get('bad')).toThrow(/^Model with name bad is not ready\. .*bad\/model\.onnx: /);
    expect(await repository.index()).toEqual([
      { name: 'bad', state: 'UNAVAILABLE', reason: expect.stringMatching(/Protobuf/) as unknown },
      { name: 'good', state: 'READY', reason: '' },
    ]);
  });

  test('does not start without a model that loads', async () => {
    await expect(create().loadAll()).rejects.toThrow(/holds no \.onnx file/);
    put('bad', undefined);
    await expect(create().loadAll()).rejects.toThrow(/^cannot load model 'bad': .*model\.onnx: /);
  });

  test('loads a folder that came later, and unloads it', async () => {
    put('one', 'echo');
    const repository = create();
    await repository.loadAll();
    put('two', 'echo');
    await repository.load('two');
    expect(repository.names()).toEqual(['one', 'two']);
    await repository.unload('one');
    expect(repository.names()).toEqual(['two']);
    expect(() => repository.get('one')).toThrow('Model with name one does not exist.');
    await expect(repository.unload('one')).rejects.toMatchObject({ code: 'not_found' });
    expect(await repository.index()).toContainEqual({
      name: 'one',
      state: 'UNAVAILABLE',
      reason: 'unloaded',
    });
  });

  test('goes on with the old model when a new file does not load', async () => {
    put('one', 'echo');
    const repository = create();
    await repository.loadAll();
    put('one', undefined);
    await expect(repository.load('one')).rejects.toMatchObject({ code: 'model_load_failed' });
    expect(repository.get('one').inputs.length).toBeGreaterThan(0);
  });

  test('answers what is in flight when its model is loaded again or unloaded', async () => {
    put('slow', 'slow');
    const repository = create();
    await repository.loadAll();
    const run = () => {
      const data = BigInt64Array.of(100n);
      const rounds = { name: 'rounds', datatype: 'INT64' as const, shape: [], data, parameters: {} };
      return repository.get('slow').run([rounds], ['mean'], new AbortController().signal);
    };
    const first = run();
    await repository.load('slow');
    const second = run();
    await repository.unload('slow');
    for (const [output] of [await first, await second]) expect(output?.data[0]).toBeCloseTo(1, 5);
  });

  test('joins a load that is under way', async () => {
    put('one', 'echo');
    const repository = create();
    await Promise.all([repository.load('one'), repository.load('one')]);
    expect(repository.names()).toEqual(['one']);
  });

  test('unloads a model whose load is under way once it is there', async () => {
    put('one', 'echo');
    const repository = create();
    const loading = repository.load('one');
    await repository.unload('one');
    await loading;
    expect(repository.names()).toEqual([]);
  });

  test('computes nothing for a caller who has gone', async () => {
    put('slow', 'slow');
    const repository = create();
    await repository.loadAll();
    await expect(repository.get('slow').run([], ['mean'], AbortSignal.abort())).rejects.toMatchObject({
      code: 'timeout',
    });
  });

  test('leaves out an output that is no tensor', async () => {
    put('zipmap', 'zipmap');
    const repository = create();
    await repository.loadAll();
    expect(repository.get('zipmap').outputs.map(({ datatype }) => datatype)).toEqual(['INT64']);
  });

  test.each(['../one', '.', '..', '', 'one/../one', 'nope'])('knows no model %p', async (name) => {
    put('one', 'echo');
    await expect(create().load(name)).rejects.toMatchObject({ code: 'not_found' });
  });

  test('holds no more models than its limit', async () => {
    put('one', 'echo');
    put('two', 'echo');
    await expect(create(1).loadAll()).rejects.toThrow(/holds 2 models; --max_models is 1\./);
    const repository = create(1);
    await repository.load('one');
    await expect(repository.load('two')).rejects.toMatchObject({ code: 'model_not_ready' });
  });

  test('asks for one file where a folder holds two', async () => {
    put('one', 'echo');
    copyFileSync(fixture('echo'), join(folder, 'one', 'other.onnx'));
    await expect(create().load('one')).rejects.toThrow(
      /holds model\.onnx, other\.onnx: leave one \.onnx file in it/,
    );
  });
});
