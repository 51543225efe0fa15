import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import { asDouble } from '../../../domain/inference-protocol/datatypes.ts';
import type { ParameterValue, Tensor } from '../../../domain/inference-protocol/datatypes.ts';
import { decodeRequest, encodeRequest } from '../../../domain/inference-protocol/request.ts';
import { decodeResponse, encodeResponse } from '../../../domain/inference-protocol/response.ts';
import { codec } from '../../../gateway/grpc/schema.ts';
import type { Fields } from '../../../gateway/grpc/schema.ts';
import { readTensors, writeParameters, writeTensors } from '../../../gateway/grpc/tensors.ts';
import {
  inferRequest,
  inferResponse,
  readInferRequest,
  readInferResponse,
  restRequest,
} from '../../../gateway/grpc/translate.ts';

const requestMessage = codec('ModelInferRequest');
const responseMessage = codec('ModelInferResponse');
/** Over the wire and back: what protobuf does not carry is gone. */
const sent = (fields: Fields) => requestMessage.decode(requestMessage.encode(fields));
const answered = (fields: Fields) => responseMessage.decode(responseMessage.encode(fields));

const double = (double_param: number): Fields => ({ double_param });
const int64 = (value: bigint): Fields => ({ int64_param: long(value, false) });
const uint64 = (value: bigint): Fields => ({ uint64_param: long(value, true) });
const long = (value: bigint, unsigned: boolean) => ({
  low: Number(BigInt.asIntN(32, value)),
  high: Number(BigInt.asIntN(32, value >> 32n)),
  unsigned,
});

const name = fc.stringMatching(/^[a-zA-Z][\w-]{0,8}$/);
const value: fc.Arbitrary<ParameterValue> = fc.oneof(
  fc.boolean(),
  fc.string({ maxLength: 8 }),
  fc.integer(),
  fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
  fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 53n) }),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(asDouble),
  fc.integer().map(asDouble),
);
const reserved = new Set(['binary_data', 'binary_data_output', 'binary_data_size']);
const parameters = fc.dictionary(
  name.filter((key) => !reserved.has(key)),
  value,
  { maxKeys: 3 },
);

const numbers = {
  UINT8: [Uint8Array, fc.integer({ min: 0, max: 255 })],
  UINT16: [Uint16Array, fc.integer({ min: 0, max: 65_535 })],
  UINT32: [Uint32Array, fc.integer({ min: 0, max: 2 ** 32 - 1 })],
  INT8: [Int8Array, fc.integer({ min: -128, max: 127 })],
  INT16: [Int16Array, fc.integer({ min: -32_768, max: 32_767 })],
  INT32: [Int32Array, fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })],
  FP16: [Uint16Array, fc.integer({ min: 0, max: 65_535 })],
  FP32: [Float32Array, fc.float({ noNaN: true })],
  FP64: [Float64Array, fc.double({ noNaN: true })],
} as const;

function tensor(withFp16: boolean): fc.Arbitrary<Tensor> {
  const plain = Object.entries(numbers)
    .filter(([datatype]) => withFp16 || datatype !== 'FP16')
    .map(([datatype, [array, element]]) =>
      fc.array(element, { maxLength: 6 }).map((list) => ({ datatype, data: array.from(list) })),
    );
  const other = [
    fc
      .array(fc.integer({ min: 0, max: 1 }))
      .map((list) => ({ datatype: 'BOOL', data: Uint8Array.from(list) })),
    fc
      .array(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), { maxLength: 6 })
      .map((list) => ({ datatype: 'INT64', data: BigInt64Array.from(list) })),
    fc
      .array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { maxLength: 6 })
      .map((list) => ({ datatype: 'UINT64', data: BigUint64Array.from(list) })),
    fc
      .array(fc.uint8Array({ maxLength: 9 }), { maxLength: 6 })
      .map((list) => ({ datatype: 'BYTES', data: list })),
  ];
  return fc
    .record({ elements: fc.oneof(...plain, ...other), parameters, isFlat: fc.boolean() })
    .map(({ elements, parameters: own, isFlat }) => {
      const { length } = elements.data;
      return { ...elements, name: '', shape: isFlat ? [length] : [1, length, 1], parameters: own } as Tensor;
    });
}

function tensors(withFp16 = true): fc.Arbitrary<Tensor[]> {
  return fc
    .array(tensor(withFp16), { minLength: 1, maxLength: 4 })
    .map((list) => list.map((each, at) => ({ ...each, name: `t${at}` })));
}

/** Comparable: bytes of any kind of array as numbers. */
function plain(list: readonly Tensor[]): unknown {
  return list.map(({ data, ...rest }) => ({
    ...rest,
    data: Array.from(data as Iterable<unknown>, (element) =>
      element instanceof Uint8Array ? [...element] : element,
    ),
  }));
}

describe('tensors in protobuf', () => {
  test('come out as they went in, in lists and raw, over the wire', () => {
    fc.assert(
      fc.property(tensors(), fc.boolean(), (list, isRaw) => {
        const { list: inputs, raw } = writeTensors(list, isRaw);
        const fields = sent({ model_name: 'm', inputs, raw_input_contents: raw });
        const { request } = readInferRequest(fields);
        expect(plain(request.inputs)).toEqual(plain(list));
      }),
    );
  });

  test('are raw, all of them, where one is FP16', () => {
    fc.assert(
      fc.property(tensors(), (list) => {
        const { raw } = writeTensors(list, false);
        expect(raw).toHaveLength(list.some(({ datatype }) => datatype === 'FP16') ? list.length : 0);
      }),
    );
  });

  test.each([
    [
      'a raw list of another length',
      {
        inputs: [{ name: 'x', datatype: 'FP32', shape: [1] }],
        raw_input_contents: [Buffer.alloc(4), Buffer.alloc(4)],
      },
      "the number of inputs (1) does not match the expected number of raw input contents (2) for model 'm'.",
    ],
    [
      'contents beside raw bytes',
      {
        inputs: [{ name: 'x', datatype: 'FP32', shape: [1], contents: { fp32_contents: [1] } }],
        raw_input_contents: [Buffer.alloc(4)],
      },
      "contents field must not be specified when using raw_input_contents for input 'x' for model 'm'",
    ],
    [
      'FP16 in a list',
      { inputs: [{ name: 'x', datatype: 'FP16', shape: [1], contents: { fp32_contents: [1] } }] },
      "FP16 data has no contents field: send input 'x' as raw contents.",
    ],
    [
      'a number that does not fit',
      { inputs: [{ name: 'x', datatype: 'INT8', shape: [1], contents: { int_contents: [200] } }] },
      "200 in input 'x' does not fit INT8.",
    ],
    [
      'too few elements',
      { inputs: [{ name: 'x', datatype: 'FP32', shape: [2], contents: { fp32_contents: [1] } }] },
      "The input 'x' needs 2 elements in fp32_contents, but 1 came.",
    ],
    [
      'a negative dimension',
      { inputs: [{ name: 'x', datatype: 'FP32', shape: [-1] }] },
      "'shape' of input 'x' must be a list of integers from 0 up.",
    ],
    [
      'an unknown datatype',
      { inputs: [{ name: 'x', datatype: 'FP8', shape: [1] }] },
      /^The datatype "FP8" of input 'x' is not supported\./,
    ],
    [
      'raw bytes that are too few',
      { inputs: [{ name: 'x', datatype: 'FP32', shape: [2] }], raw_input_contents: [Buffer.alloc(4)] },
      /2 elements of FP32 need 8 bytes/,
    ],
  ])('are refused with %s', (_what, fields, message) => {
    expect(() => readInferRequest(sent({ model_name: 'm', ...fields }))).toThrow(message);
  });

  test('have parameters without a value left out', () => {
    const fields = sent({ model_name: 'm', parameters: { a: {}, b: { bool_param: false } } });
    expect(readInferRequest(fields).request.parameters).toEqual({ b: false });
  });
});

describe('parameters', () => {
  const asked = (choices: Fields) => sent({ model_name: 'm', parameters: choices });
  /** From a gRPC client by way of REST's form to a gRPC server. */
  const passed = (choices: Fields): unknown => {
    const { fields } = inferRequest(restRequest(readInferRequest(asked(choices))), 'm', '');
    return sent(fields)['parameters'];
  };
  /** From a REST client to a gRPC server. */
  const fromJson = (text: string): unknown => {
    const body = Buffer.from(`{"inputs":[],"parameters":{"p":${text}}}`);
    return sent(inferRequest({ body }, 'm', '').fields)['parameters'];
  };

  test('of gRPC reach a gRPC server with their kind and their value', () => {
    const finite = fc.double({ noNaN: true, noDefaultInfinity: true });
    const choice = fc.oneof(
      fc.oneof(finite, fc.integer(), fc.constantFrom(1, -0, 0, 2 ** 60, 1e20, 1e21)).map(double),
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(int64),
      fc.bigInt({ min: 2n ** 63n, max: 2n ** 64n - 1n }).map(uint64),
      fc.boolean().map((bool_param) => ({ bool_param })),
      fc.string().map((string_param) => ({ string_param })),
    );
    fc.assert(
      fc.property(choice, (given) => {
        expect(passed({ p: given })).toEqual(asked({ p: given })['parameters']);
      }),
    );
  });

  test('of every tensor and every output keep their kind, too', () => {
    const own = { scale: double(2), count: int64(2n) };
    const fields = sent({
      model_name: 'm',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1], parameters: own }],
      outputs: [{ name: 'y', parameters: own }],
      raw_input_contents: [Buffer.alloc(4)],
    });
    const back = sent(inferRequest(restRequest(readInferRequest(fields)), 'm', '').fields);
    expect(back['inputs']).toEqual(fields['inputs']);
    expect(back['outputs']).toEqual(fields['outputs']);
  });

  test.each([
    ['1', int64(1n)],
    ['1.0', double(1)],
    ['1e0', double(1)],
    ['-0.0', double(-0)],
    ['9007199254740993', int64(9007199254740993n)],
    ['9007199254740993.0', double(9007199254740992)],
    ['18446744073709551615', uint64(2n ** 64n - 1n)],
    ['18446744073709551616', double(2 ** 64)],
    ['-9223372036854775809', double(-(2 ** 63))],
    ['0.5', double(0.5)],
  ])('of JSON are %s as it is written', (text, choice) => {
    expect(fromJson(text)).toEqual(asked({ p: choice })['parameters']);
  });

  test.each([NaN, Infinity, -Infinity])(
    'are refused when one is %d: JSON, which they go through, has none',
    (value) => {
      expect(() => readInferRequest(asked({ top_p: double(value) }))).toThrow(
        `Parameter 'top_p' is ${value}, for which JSON has no number: only finite numbers are passed on.`,
      );
    },
  );

  test('of an answer in gRPC keep their kind in JSON', () => {
    const fields = answered({
      model_name: 'm',
      parameters: { a: double(1), b: int64(1n), c: double(-0), d: double(2 ** 60) },
    });
    const request = { id: undefined, inputs: [], outputs: undefined, parameters: {} };
    const { body } = encodeResponse(readInferResponse(fields, request, 'm'), request);
    expect(Buffer.from(body).toString()).toContain('{"a":1.0,"b":1,"c":-0.0,"d":1152921504606847000.0}');
    expect(answered(inferResponse({ body }, { model: 'm', isRaw: false }))['parameters']).toEqual(
      fields['parameters'],
    );
  });
});

describe('an inference', () => {
  const whole = fc.record({
    id: fc.option(name, { nil: undefined }),
    parameters,
    inputs: tensors(),
    outputs: fc.option(fc.uniqueArray(name, { minLength: 1, maxLength: 3 }), { nil: undefined }),
  });

  test('asked in gRPC is the same in REST', () => {
    fc.assert(
      fc.property(whole, fc.boolean(), ({ outputs, ...request }, isRaw) => {
        const { list, raw } = writeTensors(request.inputs, isRaw);
        const fields = sent({
          model_name: 'm',
          id: request.id ?? '',
          parameters: writeParameters(request.parameters),
          inputs: list,
          raw_input_contents: raw,
          outputs: (outputs ?? []).map((output) => ({ name: output })),
        });
        const asked = readInferRequest(fields);
        const read = decodeRequest(restRequest(asked), 'm');
        expect(read.id).toBe(request.id);
        expect(read.parameters).toEqual({ ...request.parameters, binary_data_output: true });
        expect(plain(read.inputs)).toEqual(plain(request.inputs));
        expect(read.outputs?.map((output) => output.name)).toEqual(outputs);
        expect(read.outputs?.every((output) => output.parameters['binary_data'] === true) ?? true).toBe(true);
      }),
    );
  });

  test('asked in REST is the same in gRPC', () => {
    fc.assert(
      fc.property(whole, fc.boolean(), ({ outputs, ...request }, isBinary) => {
        const wanted = outputs?.map((output) => ({ name: output, parameters: { binary_data: isBinary } }));
        const body = encodeRequest(
          { ...request, outputs: wanted },
          ({ datatype, data }) => isBinary || !isSayable(datatype, data),
        );
        const { fields } = inferRequest(body, 'm', '');
        const read = readInferRequest(sent(fields));
        expect(read.model).toBe('m');
        expect(read.request.id).toBe(request.id);
        expect(read.request.parameters).toEqual(request.parameters);
        expect(plain(read.request.inputs)).toEqual(plain(request.inputs));
        expect(read.request.outputs).toEqual(
          wanted?.map((output) => ({ name: output.name, parameters: {} })),
        );
      }),
    );
  });

  const answers = fc.record({
    modelVersion: fc.option(name, { nil: undefined }),
    id: fc.option(name, { nil: undefined }),
    parameters,
    outputs: tensors(),
  });

  test('answered in REST is the same in gRPC, raw for raw', () => {
    fc.assert(
      fc.property(answers, fc.boolean(), (given, isRaw) => {
        const response = { modelName: 'm', ...given };
        const wire = encodeResponse(response, {
          outputs: undefined,
          parameters: { binary_data_output: true },
        });
        const fields = answered(inferResponse(wire, { model: 'm', isRaw }));
        const raw = fields['raw_output_contents'] as Uint8Array[];
        const read = readTensors(fields['outputs'] as Fields[], raw, 'output', 'm');
        expect(plain(read)).toEqual(plain(given.outputs));
        expect(fields['id']).toBe(given.id ?? '');
        expect(fields['model_version']).toBe(given.modelVersion ?? '');
        const isFp16 = given.outputs.some(({ datatype }) => datatype === 'FP16');
        expect(raw.length > 0).toBe(isRaw || isFp16);
      }),
    );
  });

  test('answered in gRPC is the same in REST, in the form that was asked for', () => {
    fc.assert(
      fc.property(
        answers.filter(({ outputs }) => outputs.every(({ datatype, data }) => isSayable(datatype, data))),
        fc.boolean(),
        fc.boolean(),
        (given, isRaw, isBinary) => {
          const { list, raw } = writeTensors(given.outputs, isRaw);
          const fields = answered({
            model_name: 'm',
            model_version: given.modelVersion ?? '',
            id: given.id ?? '',
            parameters: writeParameters(given.parameters),
            outputs: list,
            raw_output_contents: raw,
          });
          const request = {
            id: undefined,
            inputs: [],
            outputs: undefined,
            parameters: isBinary ? { binary_data_output: true } : {},
          };
          const encoded = encodeResponse(readInferResponse(fields, request, 'm'), request);
          expect(encoded.headerLength === undefined).toBe(!isBinary);
          const read = decodeResponse(encoded, 'm');
          expect(plain(read.outputs)).toEqual(plain(given.outputs));
          expect(read).toMatchObject({ modelName: 'm', id: given.id, modelVersion: given.modelVersion });
          expect(read.parameters).toEqual(given.parameters);
        },
      ),
    );
  });
});

/** JSON has no FP16, no infinity, no -0, and BYTES only as text. */
function isSayable(datatype: string, data: Tensor['data']): boolean {
  if (datatype === 'FP16') return false;
  return Array.from(data as Iterable<unknown>).every((element) =>
    element instanceof Uint8Array
      ? element.every((byte) => byte < 128)
      : typeof element === 'bigint' || (Number.isFinite(element) && !Object.is(element, -0)),
  );
}
