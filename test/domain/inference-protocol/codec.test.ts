import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { MusterError } from '../../../domain/errors.ts';
import type { Tensor } from '../../../domain/inference-protocol/datatypes.ts';
import { decodeInstances } from '../../../domain/inference-protocol/instances.ts';
import { decodeRequest, encodeRequest } from '../../../domain/inference-protocol/request.ts';
import { decodeResponse, encodeResponse } from '../../../domain/inference-protocol/response.ts';
import { request, tensor } from '../../fixtures/inference-protocol/arbitrary.ts';

/** Whatever goes through the codec comes out the same; whatever is not V2 is refused and never crashes. */
const refusal = (work: () => unknown): MusterError | undefined => {
  try {
    work();
    return undefined;
  } catch (error) {
    if (error instanceof MusterError && error.code === 'invalid_input') return error;
    throw error;
  }
};

describe('the V2 codec', () => {
  test('gives back any request of any datatypes, whichever inputs are binary', () => {
    fc.assert(
      fc.property(request, fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }), (sent, flags) => {
        const binary = (input: Tensor) => flags[sent.inputs.indexOf(input)] ?? false;
        expect(decodeRequest(encodeRequest(sent, binary), 'm')).toEqual(sent);
      }),
    );
  });

  test('gives back any response, in the form that the request asks for', () => {
    const outputs = fc.uniqueArray(tensor, { selector: ({ name }) => name, maxLength: 4 });
    fc.assert(
      fc.property(outputs, fc.boolean(), fc.array(fc.boolean(), { minLength: 4 }), (all, whole, flags) => {
        const sent = { modelName: 'm', modelVersion: undefined, id: '1', parameters: {}, outputs: all };
        const needsBinary = (output: Tensor, index: number) =>
          flags[index] === true || output.datatype === 'FP16';
        const asked = whole
          ? { parameters: { binary_data_output: true }, outputs: undefined }
          : {
              parameters: {},
              outputs: all.map((output, index) => ({
                name: output.name,
                parameters: { binary_data: needsBinary(output, index) },
              })),
            };
        expect(decodeResponse(encodeResponse(sent, asked), 'm')).toEqual(sent);
      }),
    );
  });

  test("reads a body that is a Buffer of Node's pool, and keeps no part of the pool", () => {
    fc.assert(
      fc.property(request, (sent) => {
        const encoded = encodeRequest(sent, () => true);
        const { inputs } = decodeRequest({ ...encoded, body: Buffer.from(encoded.body) }, 'm');
        expect(inputs).toEqual(sent.inputs);
        for (const { data } of inputs) {
          for (const part of Array.isArray(data) ? (data as Uint8Array[]) : [data as Uint8Array])
            expect(part.buffer.byteLength).toBe(part.byteLength);
        }
      }),
    );
  });

  test('reads a body from anywhere in a larger buffer', () => {
    fc.assert(
      fc.property(request, fc.integer({ min: 1, max: 9 }), (sent, offset) => {
        const encoded = encodeRequest(sent, () => true);
        const buffer = new Uint8Array(encoded.body.length + offset);
        buffer.set(encoded.body, offset);
        expect(decodeRequest({ ...encoded, body: buffer.subarray(offset) }, 'm')).toEqual(sent);
      }),
    );
  });

  test('refuses any bytes that are no request, with invalid_input and nothing else', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 64 }),
        fc.option(fc.integer({ min: -2, max: 80 })),
        (body, length) => {
          refusal(() => decodeRequest({ body, headerLength: length ?? undefined }, 'm'));
        },
      ),
    );
  });

  test('refuses any JSON that is no request, with invalid_input and nothing else', () => {
    const spec = { name: 'X', datatype: 'INT64', shape: [-1, 2] } as const;
    const input = fc.record(
      {
        name: fc.oneof(fc.string(), fc.jsonValue()),
        shape: fc.oneof(fc.array(fc.integer({ min: -1, max: 3 })), fc.jsonValue()),
        datatype: fc.oneof(fc.constantFrom('INT64', 'FP32', 'BOOL', 'BYTES', 'BF16'), fc.jsonValue()),
        data: fc.jsonValue(),
        parameters: fc.oneof(fc.record({ binary_data_size: fc.jsonValue() }), fc.jsonValue()),
      },
      { requiredKeys: [] },
    );
    const body = fc.record({ inputs: fc.array(fc.oneof(input, fc.jsonValue())), outputs: fc.jsonValue() });
    fc.assert(
      fc.property(fc.oneof(body, fc.jsonValue()), (value) => {
        const bytes = new TextEncoder().encode(JSON.stringify(value));
        refusal(() => decodeRequest({ body: bytes }, 'm'));
        refusal(() => decodeResponse({ body: bytes }, 'm'));
        refusal(() => decodeInstances(bytes, [spec], 'm'));
      }),
    );
  });

  test('refuses any request that was cut, wherever it was', () => {
    fc.assert(
      fc.property(request, fc.nat(), (sent, cut) => {
        const encoded = encodeRequest(sent, () => true);
        const body = encoded.body.subarray(0, cut % encoded.body.length);
        expect(refusal(() => decodeRequest({ ...encoded, body }, 'm'))).toBeInstanceOf(MusterError);
      }),
    );
  });

  test('refuses JSON nested a hundred thousand levels deep', () => {
    const deep = `${'['.repeat(100_000)}9007199254740993${']'.repeat(100_000)}`;
    const body = new TextEncoder().encode(
      `{"parameters":{},"inputs":[{"name":"X","shape":[1],"datatype":"INT64","data":${deep}}]}`,
    );
    expect(refusal(() => decodeRequest({ body }, 'm'))?.message).toMatch(/nested too deeply/);
  });
});
