import { describe, expect, test } from '@jest/globals';
import type { Tensor } from '../../../domain/inference-protocol/datatypes.ts';
import { swapped } from '../../../domain/inference-protocol/binary-tensor.ts';
import { decodeResponse, encodeResponse } from '../../../domain/inference-protocol/response.ts';

const plain = { parameters: {}, outputs: undefined };
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const answer = (outputs: readonly Tensor[]) => ({
  modelName: 'TestModel',
  modelVersion: undefined,
  id: '1',
  parameters: {},
  outputs,
});
const fp32: Tensor = {
  name: 'fp32',
  datatype: 'FP32',
  shape: [2],
  data: Float32Array.of(6.8, -0),
  parameters: {},
};
const fp16: Tensor = {
  name: 'fp16',
  datatype: 'FP16',
  shape: [1],
  data: Uint16Array.of(0x3c00),
  parameters: {},
};

describe('encodeResponse', () => {
  test('writes JSON with the fields, the order and the nulls of KServe', () => {
    const encoded = encodeResponse(answer([fp32]), plain);
    expect(encoded).toMatchObject({ headerLength: undefined, contentType: 'application/json' });
    expect(text(encoded.body)).toBe(
      '{"model_name":"TestModel","model_version":null,"id":"1","parameters":null,"outputs":[' +
        '{"name":"fp32","shape":[2],"datatype":"FP32","parameters":null,"data":[6.800000190734863,-0]}]}',
    );
  });

  test('leaves absent fields out and puts the id first when an output is binary', () => {
    const asked = {
      parameters: {},
      outputs: [
        { name: 'fp16', parameters: { binary_data: true } },
        { name: 'fp32', parameters: {} },
      ],
    };
    const encoded = encodeResponse(answer([fp32, fp16]), asked);
    expect(encoded.contentType).toBe('application/octet-stream');
    expect(text(encoded.body.subarray(0, encoded.headerLength))).toBe(
      '{"id":"1","model_name":"TestModel","outputs":[' +
        '{"name":"fp16","shape":[1],"datatype":"FP16","parameters":{"binary_data_size":2}},' +
        '{"name":"fp32","shape":[2],"datatype":"FP32","data":[6.800000190734863,-0]}]}',
    );
    expect(encoded.body.subarray(encoded.headerLength)).toEqual(Uint8Array.of(0x00, 0x3c));
  });

  test('writes 64-bit integers digit by digit and what JSON has no number for as null', () => {
    const outputs: Tensor[] = [
      {
        name: 'i',
        datatype: 'INT64',
        shape: [1],
        data: BigInt64Array.of(-9223372036854775808n),
        parameters: {},
      },
      {
        name: 'u',
        datatype: 'UINT64',
        shape: [1],
        data: BigUint64Array.of(18446744073709551615n),
        parameters: {},
      },
      { name: 'f', datatype: 'FP64', shape: [2], data: Float64Array.of(Infinity, NaN), parameters: {} },
      { name: 'b', datatype: 'BOOL', shape: [2], data: Uint8Array.of(0, 1), parameters: {} },
    ];
    const body = text(encodeResponse(answer(outputs), plain).body);
    expect(body).toContain('"data":[-9223372036854775808]');
    expect(body).toContain('"data":[18446744073709551615]');
    expect(body).toContain('"data":[null,null]');
    expect(body).toContain('"data":[false,true]');
  });

  test('refuses FP16 as JSON with the words of KServe', () => {
    expect(() => encodeResponse(answer([fp16]), plain)).toThrow(
      "Sending FP16 data via JSON is not supported. Please use the binary data format for output 'fp16'",
    );
  });

  test('refuses bytes that are no text as JSON, and sends them as binary', () => {
    const bytes: Tensor = {
      name: 'b',
      datatype: 'BYTES',
      shape: [1],
      data: [Uint8Array.of(0x80)],
      parameters: {},
    };
    expect(() => encodeResponse(answer([bytes]), plain)).toThrow(
      /The bytes of output 'b' are not UTF-8 text/,
    );
    const asked = { parameters: { binary_data_output: true }, outputs: undefined };
    expect(decodeResponse(encodeResponse(answer([bytes]), asked), 'm').outputs).toEqual([bytes]);
  });

  test('refuses to answer with an output that is not there', () => {
    const asked = { parameters: {}, outputs: [{ name: 'nope', parameters: {} }] };
    expect(() => encodeResponse(answer([fp32]), asked)).toThrow(
      "Unexpected inference output 'nope' for model 'TestModel'",
    );
  });
});

describe('decodeResponse', () => {
  test("reads another server's answer: a version, no parameters", () => {
    const body = new TextEncoder().encode(
      '{"model_name":"m","model_version":"1","outputs":[{"name":"o","shape":[1],"datatype":"INT64","data":[2]}]}',
    );
    expect(decodeResponse({ body }, 'm')).toEqual({
      modelName: 'm',
      modelVersion: '1',
      id: undefined,
      parameters: {},
      outputs: [{ name: 'o', datatype: 'INT64', shape: [1], data: BigInt64Array.of(2n), parameters: {} }],
    });
  });

  test('refuses an answer without a model name', () => {
    expect(() => decodeResponse({ body: new TextEncoder().encode('{"outputs":[]}') }, 'm')).toThrow(
      "'model_name' of the response must be a string.",
    );
  });
});

describe('swapped', () => {
  test('turns the bytes of each element around, for hosts of the other byte order', () => {
    expect(swapped(Uint8Array.of(1, 2, 3, 4), 2)).toEqual(Uint8Array.of(2, 1, 4, 3));
    expect(swapped(Uint8Array.of(1, 2, 3, 4), 4)).toEqual(Uint8Array.of(4, 3, 2, 1));
  });
});
