import { describe, expect, test } from '@jest/globals';
import { modelNameOf, servedModelNames } from '../../../domain/inference-service/model-name.ts';
import { serviceOf } from '../../fixtures/domain/objects.ts';

describe('the name that a server knows its model by', () => {
  const cases: readonly [string, readonly string[], readonly { name: string; value: string }[], string][] = [
    ['no flag: the service', [], [], 'sklearn'],
    ['one argument', ['--model_name=x'], [], 'x'],
    ['two arguments', ['--http_port', '80', '--model_name', 'iris'], [], 'iris'],
    ['several: the last', ['--model_name=a', '--model_name', 'b', '--model_name=c'], [], 'c'],
    ['one string with a space is no flag', ['--model_name iris'], [], 'sklearn'],
    ['a flag at the end without value', ['--model_name'], [], 'sklearn'],
    ['another flag with the same beginning', ['--model_names=x'], [], 'sklearn'],
    ["MLServer's variable", [], [{ name: 'MLSERVER_MODEL_NAME', value: 'm' }], 'm'],
    ['a flag before the variable', ['--model_name=x'], [{ name: 'MLSERVER_MODEL_NAME', value: 'm' }], 'x'],
    ["llama.cpp's flag", ['--alias=tiny'], [], 'tiny'],
    ["vLLM's flag", ['--served-model-name', 'chat'], [], 'chat'],
  ];
  test.each(cases)('%s', (_name, args, env, expected) => {
    expect(modelNameOf(args, env, 'sklearn')).toBe(expected);
  });
});

describe('names that requests may use', () => {
  test("the service's own, the server's and the aliases, each once", () => {
    const object = serviceOf({}, { annotations: { 'muster.dev/aliases': ' gpt-4o, flowers ,,iris' } });
    expect(servedModelNames(object, { modelName: 'flowers' })).toEqual({
      models: ['iris', 'flowers', 'gpt-4o'],
      upstream: 'flowers',
    });
  });
  test('only one when nothing else is said', () => {
    expect(servedModelNames(serviceOf(), { modelName: 'iris' })).toEqual({
      models: ['iris'],
      upstream: 'iris',
    });
  });
});
