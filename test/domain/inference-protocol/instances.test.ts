import { describe, expect, test } from '@jest/globals';
import type { Tensor } from '../../../domain/inference-protocol/datatypes.ts';
import { decodeInstances, encodePredictions } from '../../../domain/inference-protocol/instances.ts';
import type { TensorSpec } from '../../../domain/inference-protocol/tensor-spec.ts';
import { checkInputs } from '../../../domain/inference-protocol/tensor-spec.ts';

const x: TensorSpec = { name: 'X', datatype: 'FP32', shape: [-1, 2] };
const age: TensorSpec = { name: 'age', datatype: 'INT64', shape: [-1, 1] };
const city: TensorSpec = { name: 'city', datatype: 'BYTES', shape: [-1, 1] };
const decode = (value: unknown, specs: readonly TensorSpec[]) =>
  decodeInstances(
    new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value)),
    specs,
    'm',
  );

describe('decodeInstances', () => {
  test('makes the rows one tensor', () => {
    expect(
      decode(
        {
          instances: [
            [1, 2],
            [3, 4],
          ],
        },
        [x],
      ),
    ).toEqual([
      { name: 'X', datatype: 'FP32', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4), parameters: {} },
    ]);
  });

  test.each([
    ['"inputs" in place of "instances"', { inputs: [[1, 2]] }],
    ['an object of the one input', { instances: [{ X: [1, 2] }] }],
  ])('takes %s', (_name, value) => {
    expect(decode(value, [x])[0]).toMatchObject({ shape: [1, 2], data: Float32Array.of(1, 2) });
  });

  test('makes a column of each input of a model of several', () => {
    const rows = '{"instances":[{"age":9007199254740993,"city":"Ulm"},{"age":1,"city":"Bern"}]}';
    const [ages, cities] = decode(rows, [age, city]);
    expect(ages).toMatchObject({ shape: [2, 1], data: BigInt64Array.of(9007199254740993n, 1n) });
    expect(cities).toMatchObject({
      shape: [2, 1],
      data: ['Ulm', 'Bern'].map((t) => new TextEncoder().encode(t)),
    });
  });

  test.each<[string, unknown, readonly TensorSpec[], string]>([
    ['no JSON', '{', [x], 'Unrecognized request format: '],
    ['no list', { instances: 1 }, [x], 'Expected "instances" to be a list'],
    ['nothing', {}, [x], 'Expected "instances" to be a list'],
    ['inputs that are no list', { inputs: 1 }, [x], 'Expected "inputs" to be a list'],
    ['no row', { instances: [] }, [x], 'Expected "instances" to hold at least one row'],
    [
      'ragged rows',
      { instances: [[1, 2], [3]] },
      [x],
      "The nested lists of input 'X' have different lengths.",
    ],
    ['a word', { instances: [['a', 'b']] }, [x], `Element 0 of input 'X' is "a", but FP32 needs a number.`],
    [
      'lists for several inputs',
      { instances: [[1, 'a']] },
      [age, city],
      "Instance 0 for model 'm' must be an object with 'age', 'city'.",
    ],
    [
      'a row without an input',
      { instances: [{ age: 1 }] },
      [age, city],
      "Input 'city' is missing in instance 0",
    ],
    [
      'an input of another model',
      { instances: [{ age: 1, city: 'a', x: 1 }] },
      [age, city],
      "Unexpected inference input 'x' in instance 0",
    ],
    [
      'FP16',
      { instances: [1] },
      [{ name: 'h', datatype: 'FP16', shape: [-1] }],
      'Receiving FP16 data via JSON is not supported.',
    ],
  ])('refuses %s', (_name, value, specs, message) => {
    expect(() => decode(value, specs)).toThrow(message);
  });
});

describe('encodePredictions', () => {
  test.each<[readonly number[], readonly number[], string]>([
    [[2], [0, 2], '[0,2]'],
    [[2, 2], [1, 2, 3, 4], '[[1,2],[3,4]]'],
    [[2, 1, 2], [1, 2, 3, 4], '[[[1,2]],[[3,4]]]'],
    [[2, 0], [], '[[],[]]'],
    [[0], [], '[]'],
    [[], [7], '[7]'],
  ])('writes shape %j as nested lists', (shape, data, rows) => {
    const output: Tensor = {
      name: 'o',
      datatype: 'INT32',
      shape,
      data: Int32Array.from(data),
      parameters: {},
    };
    expect(encodePredictions(output)).toBe(`{"predictions":${rows}}`);
  });
});

describe('checkInputs', () => {
  const tensor = (change: object): Tensor => ({
    name: 'X',
    datatype: 'FP32',
    shape: [1, 2],
    data: new Float32Array(2),
    parameters: {},
    ...change,
  });
  const sentence = "Input 'X' of model 'm' expects FP32 of shape [-1,2], but";

  test('lets through what fits, with any length where the model takes any', () => {
    expect(() => {
      checkInputs([x], [tensor({ shape: [9, 2] })], 'm');
    }).not.toThrow();
  });

  test.each<[string, readonly Tensor[], string]>([
    ['a wrong dimension', [tensor({ shape: [1, 3] })], `${sentence} FP32 of shape [1,3] came.`],
    ['a wrong rank', [tensor({ shape: [2] })], `${sentence} FP32 of shape [2] came.`],
    ['a wrong datatype', [tensor({ datatype: 'FP64' })], `${sentence} FP64 of shape [1,2] came.`],
    [
      'an unknown input',
      [tensor({ name: 'Y' })],
      "Unexpected inference input 'Y' for model 'm': it takes 'X' (FP32 of shape [-1,2]).",
    ],
    ['a missing input', [], "Input 'X' (FP32 of shape [-1,2]) is missing for model 'm'."],
  ])('refuses %s, naming the input, what was expected and what came', (_name, inputs, message) => {
    expect(() => {
      checkInputs([x], inputs, 'm');
    }).toThrow(message);
  });
});
