import { describe, expect, test } from '@jest/globals';
import { asDouble, WholeDouble } from '../../../domain/inference-protocol/datatypes.ts';
import type { Parameters } from '../../../domain/inference-protocol/datatypes.ts';
import { answerForm, decodeRequest, encodeRequest } from '../../../domain/inference-protocol/request.ts';

const bytes = (value: unknown) =>
  new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));
const decode = (value: unknown, headerLength?: number, contentType?: string) =>
  decodeRequest({ body: bytes(value), headerLength, contentType }, 'iris');
const x = { name: 'X', shape: [2], datatype: 'FP32', data: [1, 2] };
const withInput = (change: object) => ({ inputs: [{ ...x, ...change }] });

describe('decodeRequest', () => {
  test('takes nested data row by row', () => {
    const [input] = decode(
      withInput({
        shape: [2, 2],
        data: [
          [1, 2],
          [3, 4],
        ],
      }),
    ).inputs;
    expect(input?.data).toEqual(Float32Array.of(1, 2, 3, 4));
  });

  test.each([
    ['9223372036854775807', 'INT64', 9223372036854775807n],
    ['-9223372036854775808', 'INT64', -9223372036854775808n],
    ['9007199254740993', 'INT64', 9007199254740993n],
    ['18446744073709551615', 'UINT64', 18446744073709551615n],
    ['1e3', 'INT64', 1000n],
  ])('keeps %s exact as %s', (written, datatype, value) => {
    const text = `{"inputs":[{"name":"X","shape":[2],"datatype":"${datatype}","data":[${written},1]}]}`;
    expect(Array.from(decode(text).inputs[0]?.data as BigInt64Array)).toEqual([value, 1n]);
  });

  test('keeps big integers exact beside floats and nested lists', () => {
    const text = `{"inputs":[
      {"name":"a","shape":[1,2],"datatype":"INT64","data":[[9007199254740993,-1]]},
      {"name":"b","shape":[1],"datatype":"FP64","data":[9007199254740993]}]}`;
    const [a, b] = decode(text).inputs;
    expect(a?.data).toEqual(BigInt64Array.of(9007199254740993n, -1n));
    expect(b?.data).toEqual(Float64Array.of(9007199254740992));
  });

  test('reads null as NaN in floating-point data, as servers of the protocol write it', () => {
    expect(decode(withInput({ data: [null, 1] })).inputs[0]?.data).toEqual(Float32Array.of(NaN, 1));
  });

  test('reads a parameter that is written with a fraction or an exponent as a double, and data as data', () => {
    const text = `{"inputs":[{"name":"X","shape":[2],"datatype":"FP32","data":[1.0,2e0],
      "parameters":{"scale":2.0,"count":2}}],"parameters":{"a":1e3,"b":-0.0,"c":1,"d":0.5,"e":9007199254740993}}`;
    const { inputs, parameters } = decode(text);
    expect(inputs[0]?.data).toEqual(Float32Array.of(1, 2));
    expect(inputs[0]?.parameters).toEqual({ scale: new WholeDouble(2), count: 2 });
    expect(parameters).toEqual({
      a: new WholeDouble(1000),
      b: new WholeDouble(-0),
      c: 1,
      d: 0.5,
      e: 9007199254740993n,
    });
  });

  test('takes a size of raw bytes that is written as 4.0', () => {
    const head = `{"inputs":[{"name":"X","shape":[1],"datatype":"INT32","parameters":{"binary_data_size":4.0}}]}`;
    expect(decode(`${head}\u0001\0\0\0`, head.length).inputs[0]?.data).toEqual(Int32Array.of(1));
  });

  test('takes 1 and 0 for BOOL', () => {
    expect(decode(withInput({ datatype: 'BOOL', data: [1, false] })).inputs[0]?.data).toEqual(
      Uint8Array.of(1, 0),
    );
  });

  test('reads raw tensors in the order of the head, and drops binary_data_size from the parameters', () => {
    const head = JSON.stringify({
      inputs: [
        { name: 'a', shape: [1], datatype: 'INT32', parameters: { binary_data_size: 4, note: 'kept' } },
        { name: 'b', shape: [2], datatype: 'BYTES', parameters: { binary_data_size: 11 } },
      ],
    });
    const raw = Uint8Array.of(0xfe, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0x68, 0x69, 1, 0, 0, 0, 0x21);
    const body = Uint8Array.from([...bytes(head), ...raw]);
    const { inputs } = decodeRequest({ body, headerLength: String(head.length) }, 'iris');
    expect(inputs[0]).toMatchObject({ data: Int32Array.of(-2), parameters: { note: 'kept' } });
    expect(inputs[1]?.data).toEqual([bytes('hi'), bytes('!')]);
    expect(inputs[1]?.parameters).toEqual({});
  });

  test.each<[string, unknown, string]>([
    ['no JSON', '{', 'Unrecognized request format: '],
    ['a list', [], 'The request must be a JSON object.'],
    ['no inputs', {}, 'Expected "inputs" to be a list'],
    ['inputs that are an object', { inputs: {} }, 'Expected "inputs" to be a list'],
    ['an input without a name', { inputs: [{}] }, '\'name\' of element 0 of "inputs" must be a string.'],
    ['an input listed twice', { inputs: [x, x] }, "The input 'X' is listed twice."],
    ['no data', withInput({ data: undefined }), "'data' field is missing for input 'X' for model 'iris'"],
    ['data that is no list', withInput({ data: 1 }), "'data' of input 'X' must be a list."],
    [
      'a datatype of another server',
      withInput({ datatype: 'BF16' }),
      `The datatype "BF16" of input 'X' is not supported. Use one of BOOL, `,
    ],
    ['no datatype', withInput({ datatype: undefined }), "The datatype (none) of input 'X' is not supported."],
    [
      'a negative dimension',
      withInput({ shape: [-1] }),
      "'shape' of input 'X' must be a list of integers from 0 up.",
    ],
    [
      'too little data',
      withInput({ shape: [2, 2] }),
      "The input 'X' of shape [2,2] needs 4 elements, but 2 came.",
    ],
    [
      'a shape no memory holds',
      withInput({ shape: [2 ** 40, 2 ** 40] }),
      'needs Infinity elements, but 2 came.',
    ],
    [
      'ragged data',
      withInput({ shape: [3], data: [[1, 2], [3]] }),
      "The nested lists of input 'X' have different lengths.",
    ],
    [
      'lists beside numbers',
      withInput({ data: [1, [2]] }),
      "The nested lists of input 'X' have different lengths.",
    ],
    [
      'a string for a number',
      withInput({ data: [1, 'two'] }),
      `Element 1 of input 'X' is "two", but FP32 needs a number.`,
    ],
    [
      'a number beyond FP32',
      withInput({ data: [1e39, 1] }),
      "Element 0 of input 'X' is 1e+39, but FP32 needs a number in its range.",
    ],
    [
      'a fraction for an integer',
      withInput({ datatype: 'INT8', data: [1.5, 1] }),
      "Element 0 of input 'X' is 1.5, but INT8 needs an integer from -128 to 127.",
    ],
    [
      'an integer out of range',
      withInput({ datatype: 'UINT8', data: [1, 256] }),
      "Element 1 of input 'X' is 256, but UINT8 needs an integer from 0 to 255.",
    ],
    [
      'a fraction for INT64',
      withInput({ datatype: 'INT64', data: [1, 0.5] }),
      "Element 1 of input 'X' is 0.5, but INT64 needs an integer",
    ],
    [
      '2 for BOOL',
      withInput({ datatype: 'BOOL', data: [1, 2] }),
      "Element 1 of input 'X' is 2, but BOOL needs true or false.",
    ],
    [
      'a number for BYTES',
      withInput({ datatype: 'BYTES', data: ['a', 1] }),
      "Element 1 of input 'X' is 1, but BYTES needs a string.",
    ],
    [
      'FP16 in JSON',
      withInput({ datatype: 'FP16' }),
      'Receiving FP16 data via JSON is not supported. Please use the binary data format for input',
    ],
    [
      'data in both forms',
      withInput({ parameters: { binary_data_size: 8 } }),
      "The input 'X' has both 'data' and 'binary_data_size': send one of them.",
    ],
    [
      'parameters that are a list',
      withInput({ parameters: [] }),
      "'parameters' of input 'X' must be a JSON object.",
    ],
    [
      'a parameter that is an object',
      { ...withInput({}), parameters: { a: {} } },
      "Parameter 'a' of the request must be a string, a number or a boolean.",
    ],
    ['an id that is a number', { ...withInput({}), id: 1 }, "'id' of the request must be a string."],
    ['outputs that are an object', { ...withInput({}), outputs: {} }, 'Expected "outputs" to be a list'],
    [
      'an output without a name',
      { ...withInput({}), outputs: [{}] },
      '\'name\' of element 0 of "outputs" must be a string.',
    ],
    [
      'an output asked for twice',
      { ...withInput({}), outputs: [{ name: 'a' }, { name: 'a' }] },
      "The output 'a' is asked for twice.",
    ],
  ])('refuses %s', (_name, value, message) => {
    expect(() => decode(value)).toThrow(message);
  });

  test('refuses an integer that INT64 cannot hold, with the digits that came', () => {
    const text = `{"inputs":[{"name":"X","shape":[1],"datatype":"INT64","data":[9223372036854775808]}]}`;
    expect(() => decode(text)).toThrow("Element 0 of input 'X' is 9223372036854775808, but INT64 needs");
  });

  test('says that the header is missing when bytes come without it', () => {
    expect(() => decode('{}\u0000', undefined, 'application/octet-stream')).toThrow(
      "received byte inputs, but the'inference-header-content-length' header is missing.",
    );
  });

  test.each<[string, object, number[], string]>([
    [
      'bytes without a size',
      { parameters: {} },
      [0, 0, 0, 0],
      "'binary_data_size' is not specified for input 'X' for model 'iris'",
    ],
    [
      'more bytes than there are',
      { parameters: { binary_data_size: 8 } },
      [0, 0, 0, 0],
      "'binary_data_size' of input 'X' is 8, but 4 bytes of the body are left for it.",
    ],
    [
      'a negative size',
      { parameters: { binary_data_size: -4 } },
      [0, 0, 0, 0],
      "'binary_data_size' of input 'X' is -4",
    ],
    [
      'fewer bytes than the shape needs',
      { parameters: { binary_data_size: 4 } },
      [0, 0, 0, 0],
      "2 elements of FP32 need 8 bytes, but input 'X' came with 4.",
    ],
    [
      'bytes that no input takes',
      { shape: [0], parameters: { binary_data_size: 0 } },
      [0],
      'The body goes on for 1 bytes after the last binary input.',
    ],
    [
      'a BYTES element that is cut',
      { datatype: 'BYTES', parameters: { binary_data_size: 5 } },
      [2, 0, 0, 0, 1],
      "The data of input 'X' ends within element 0.",
    ],
    [
      'fewer BYTES elements than the shape',
      { datatype: 'BYTES', parameters: { binary_data_size: 4 } },
      [0, 0, 0, 0],
      "The shape of input 'X' asks for 2 elements, but its data holds 1.",
    ],
    [
      'more BYTES elements than the shape',
      { datatype: 'BYTES', shape: [1], parameters: { binary_data_size: 8 } },
      [0, 0, 0, 0, 0, 0, 0, 0],
      "The shape of input 'X' asks for 1 elements, but its data holds more.",
    ],
  ])('refuses %s', (_name, change, raw, message) => {
    const head = JSON.stringify(withInput({ ...change, data: undefined }));
    const body = Uint8Array.from([...bytes(head), ...raw]);
    expect(() => decodeRequest({ body, headerLength: head.length }, 'iris')).toThrow(message);
  });

  test.each([['-1'], ['x'], ['1.5'], ['1000'], [' ']])('refuses the head length %p', (headerLength) => {
    expect(() => decodeRequest({ body: bytes('{}'), headerLength }, 'iris')).toThrow(
      /^The 'inference-header-content-length' header is .* from 0 to the body's 2 bytes\.$/,
    );
  });
});

describe('encodeRequest', () => {
  const written = (parameters: Parameters) => {
    const request = { id: undefined, parameters, inputs: [], outputs: undefined };
    return new TextDecoder().decode(encodeRequest(request, () => false).body);
  };

  test('writes integers digit by digit and doubles with a fraction or an exponent', () => {
    const parameters = {
      a: 1,
      b: new WholeDouble(1),
      c: asDouble(-0),
      d: asDouble(1e21),
      e: 0.5,
      f: 2n ** 60n,
    };
    expect(written(parameters)).toBe(
      '{"inputs":[],"parameters":{"a":1,"b":1.0,"c":-0.0,"d":1e+21,"e":0.5,"f":1152921504606846976}}',
    );
  });

  test.each([NaN, Infinity])('refuses the parameter %d by its name', (value) => {
    expect(() => written({ top_p: value })).toThrow(
      `Parameter 'top_p' is ${value}, for which JSON has no number`,
    );
  });
});

describe('answerForm', () => {
  const both = ['a', 'b'];
  test.each([
    [
      'nothing asked: all as JSON',
      {},
      undefined,
      [
        ['a', false],
        ['b', false],
      ],
    ],
    [
      'binary_data_output: all binary',
      { binary_data_output: true },
      undefined,
      [
        ['a', true],
        ['b', true],
      ],
    ],
    [
      'an empty list asks for all',
      { binary_data_output: true },
      [],
      [
        ['a', true],
        ['b', true],
      ],
    ],
    [
      'a listed output ignores binary_data_output',
      { binary_data_output: true },
      [['b', undefined]],
      [['b', false]],
    ],
    [
      'a listed output follows its own flag',
      {},
      [
        ['b', true],
        ['a', false],
      ],
      [
        ['b', true],
        ['a', false],
      ],
    ],
  ] as const)('%s', (_name, parameters, listed, expected) => {
    const outputs = listed?.map(([name, binary]) => ({
      name,
      parameters: binary === undefined ? {} : { binary_data: binary },
    }));
    const form = answerForm({ parameters, outputs }, both, 'iris');
    expect(form.map(({ name, binary }) => [name, binary])).toEqual(expected);
  });

  test('refuses an output that the model does not have', () => {
    expect(() =>
      answerForm({ parameters: {}, outputs: [{ name: 'c', parameters: {} }] }, both, 'iris'),
    ).toThrow("Unexpected inference output 'c' for model 'iris'");
  });
});
