import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { BatchForm, WireMessage } from '../../../domain/batcher/batch-form.ts';
import { fieldsOf, itemsOf, leavesOf } from '../../../domain/batcher/json-ranges.ts';
import { v1Batch } from '../../../domain/batcher/v1-batch.ts';
import { v2Batch } from '../../../domain/batcher/v2-batch.ts';
import { decodeRequest, encodeRequest } from '../../../domain/inference-protocol/request.ts';
import { decodeResponse, encodeResponse } from '../../../domain/inference-protocol/response.ts';
import type { Tensor } from '../../../domain/inference-protocol/datatypes.ts';

const json = (value: unknown): WireMessage => ({
  body: Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)),
  headLength: null,
});
const textOf = ({ body }: WireMessage) => Buffer.from(body).toString();
const newId = () => 'new';

/** What a batch sends, and what becomes of the answer. */
function batch(form: BatchForm, requests: WireMessage[], answer: (sent: WireMessage) => WireMessage) {
  const read = requests.map((request) => {
    const one = form.read(request);
    if (one === null) throw new Error(`not joinable: ${textOf(request)}`);
    return one;
  });
  const sent = form.join(read);
  return { keys: read.map(({ key }) => key), sent, answers: form.split(answer(sent), read, newId) };
}

describe('parts of a JSON text', () => {
  const spaces = fc.constantFrom('', ' ', '\n\t');
  test('lie where JSON.parse finds them, for any document and any blanks', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.json({ depthSize: 'small' })), spaces, (parts, blank) => {
        const entries = Object.entries(parts);
        const text = `${blank}{${blank}${entries.map(([k, v]) => `${JSON.stringify(k)}${blank}:${blank}${v}${blank}`).join(`,${blank}`)}}`;
        const fields = fieldsOf(text);
        expect([...(fields?.keys() ?? [])]).toEqual(entries.map(([name]) => name));
        for (const [name, value] of entries) {
          const range = fields?.get(name) ?? { from: 0, to: 0 };
          expect(text.slice(range.from, range.to)).toBe(value);
        }
        const list = `[${blank}${entries.map(([, v]) => v + blank).join(`,${blank}`)}]`;
        expect(itemsOf(list, 0)?.map(({ from, to }) => list.slice(from, to))).toEqual(
          entries.map(([, v]) => v),
        );
      }),
    );
  });

  test.each([
    ['a field twice', '{"a":1,"a":2}', null],
    ['a field twice, once escaped', '{"a":1,"\\u0061":2}', null],
    ['no object', '[1]', null],
  ])('%s', (_name, text, expected) => {
    expect(fieldsOf(text)).toBe(expected);
  });

  test('leaves are what is no list', () => {
    const text = '[[1.0, "a]\\",b"],[], [[null,1e5]]]';
    const leaves = leavesOf(text, { from: 0, to: text.length });
    expect(leaves?.ranges.map(({ from, to }) => text.slice(from, to))).toEqual([
      '1.0',
      '"a]\\",b"',
      'null',
      '1e5',
    ]);
    expect(leavesOf('[{}]', { from: 0, to: 4 })).toBeNull();
  });

  test.each<[string, readonly number[] | null]>([
    ['[]', [0]],
    ['[1, 2]', [2]],
    ['["a]", "[b"]', [2]],
    ['[[1, 2, 3], [4, 5, 6]]', [2, 3]],
    ['[[], []]', [2, 0]],
    ['[[[1], [2]], [[3], [4]], [[5], [6]]]', [3, 2, 1]],
    ['[[1, 2], [3]]', null],
    ['[[1, 2], [3, 4, 5]]', null],
    ['[1, [2]]', null],
    ['[[1], 2]', null],
    ['[1, []]', null],
    ['[[], [[]]]', null],
    ['[[[1, 2]], [[3], [4]]]', null],
  ])('lists of lists have lengths where those of a level agree: %s', (text, lengths) => {
    expect(leavesOf(text, { from: 0, to: text.length })?.lengths).toEqual(lengths);
  });
});

describe('V1', () => {
  test('instances are joined and predictions split, digit for digit', () => {
    const requests = [
      json('{"instances":[[1.0],[12345678901234567890]]}'),
      json('{ "instances" : [ {"a":[1.10]} ] }'),
    ];
    const { sent, answers } = batch(v1Batch, requests, () =>
      json('{"x":1,"predictions":[ [0.10], 2.50 ,{"p":3}],"y":2}'),
    );
    expect(textOf(sent)).toBe('{"instances":[[1.0],[12345678901234567890],{"a":[1.10]}]}');
    expect(answers?.map(textOf)).toEqual([
      '{"x":1,"predictions":[[0.10], 2.50],"y":2}',
      '{"x":1,"predictions":[{"p":3}],"y":2}',
    ]);
  });

  test('what else a request says must be equal, in any order', () => {
    const read = (text: string) => v1Batch.read(json(text))?.key;
    expect(read('{"instances":[1],"a":1,"b":2}')).toBe(read('{"b":2,"instances":[2,3],"a":1}'));
    expect(read('{"instances":[1],"a":1}')).not.toBe(read('{"instances":[1],"a":2}'));
    expect(textOf(v1Batch.join([v1Batch.read(json('{"a":1,"instances":[1]}'))!]))).toBe(
      '{"instances":[1],"a":1}',
    );
  });

  test.each([
    '',
    'no json',
    '[]',
    '{}',
    '{"instances":[]}',
    '{"instances":{}}',
    '{"inputs":[1]}',
    '{"instances":[1],"instances":[2]}',
  ])('not joined: %s', (text) => {
    expect(v1Batch.read(json(text))).toBeNull();
  });

  test.each([
    '{"predictions":[1]}',
    '{"predictions":[1,2,3]}',
    '{"predictions":{"a":[1,2]}}',
    '{"error":"x"}',
    'text',
  ])('an answer that does not fall apart: %s', (text) => {
    expect(
      batch(v1Batch, [json('{"instances":[1]}'), json('{"instances":[2]}')], () => json(text)).answers,
    ).toBeNull();
  });
});

const input = (more: object = {}) => ({ name: 'x', shape: [1, 2], datatype: 'FP32', data: [1, 2], ...more });

describe('V2', () => {
  test('tensors are joined along their first dimension, flat or nested, and answers keep their ids', () => {
    const requests = [
      json('{"id":"a","inputs":[{"name":"x","shape":[1,2],"datatype":"INT64","data":[9007199254740993,1]}]}'),
      json('{"inputs":[{"name":"x","datatype":"INT64","shape":[2,2],"data":[[3,4],[5,6]]}],"id":null}'),
    ];
    const reply =
      '{"model_name":"m","id":"made","outputs":[{"name":"y","shape":[3],"datatype":"FP64","data":[0.10,2.0,3e0]}]}';
    const { sent, answers } = batch(v2Batch, requests, () => json(reply));
    expect(textOf(sent)).toBe(
      '{"inputs":[{"name":"x","shape":[3,2],"datatype":"INT64","data":[9007199254740993,1,3,4,5,6]}]}',
    );
    expect(answers?.map(textOf)).toEqual([
      '{"model_name":"m","id":"a","outputs":[{"name":"y","shape":[1],"datatype":"FP64","data":[0.10]}]}',
      '{"model_name":"m","id":"new","outputs":[{"name":"y","shape":[2],"datatype":"FP64","data":[2.0,3e0]}]}',
    ]);
  });

  test.each<[string, object]>([
    ['another name', { name: 'z' }],
    ['another datatype', { datatype: 'FP64' }],
    ['another row', { shape: [1, 1], data: [1] }],
    ['another parameter', { parameters: { content_type: 'np' } }],
  ])('a tensor of %s is another batch', (_name, more) => {
    const key = (value: object) => v2Batch.read(json({ inputs: [input(value)] }))?.key;
    expect(key(more)).not.toBe(key({}));
    expect(key(more)).toBeDefined();
    expect(key({ shape: [2, 2], data: [1, 2, 3, 4] })).toBe(key({}));
  });

  test.each<[string, unknown]>([
    ['no inputs', { inputs: [] }],
    ['a scalar', { inputs: [input({ shape: [], data: [1] })] }],
    ['inputs that disagree on rows', { inputs: [input(), input({ name: 'z', shape: [2, 1] })] }],
    ['an input twice', { inputs: [input(), input()] }],
    ['elements that are too few', { inputs: [input({ data: [1] })] }],
    ['an unknown datatype', { inputs: [input({ datatype: 'BF16' })] }],
    ['an unknown field', { inputs: [input({ extra: 1 })] }],
    ['a sequence', { inputs: [input()], parameters: { sequence_id: 7 } }],
    ['lists and numbers side by side', { inputs: [input({ data: [1, [2]] })] }],
    ['lists that are not rows', { inputs: [input({ shape: [2, 1], data: [[1, 2]] })] }],
    ['rows of different lengths', { inputs: [input({ shape: [2, 2], data: [[1, 2, 3], [4]] })] }],
    [
      'dimensions in another order',
      {
        inputs: [
          input({
            shape: [1, 3, 2],
            data: [
              [
                [1, 2, 3],
                [4, 5, 6],
              ],
            ],
          }),
        ],
      },
    ],
    ['rows of different depth', { inputs: [input({ shape: [2, 2], data: [[1, 2], [[3, 4]]] })] }],
    ['an empty list among elements', { inputs: [input({ shape: [1, 2], data: [[1, 2, []]] })] }],
    ['no rows', { inputs: [input({ shape: [0, 2], data: [] })] }],
    ['an id that is no text', { inputs: [input()], id: 5 }],
    ['binary without data', { inputs: [input({ data: undefined, parameters: { binary_data_size: 8 } })] }],
  ])('not joined: %s', (_name, value) => {
    expect(v2Batch.read(json(value))).toBeNull();
  });

  test('an output without a row for each instance does not fall apart', () => {
    const reply = json({
      model_name: 'm',
      outputs: [{ name: 'y', shape: [1], datatype: 'FP32', data: [1] }],
    });
    const requests = [json({ inputs: [input()] }), json({ inputs: [input()] })];
    expect(batch(v2Batch, requests, () => reply).answers).toBeNull();
  });
});

/** Tensors of any datatype with `rows` rows; the values of FP16 are bits. */
function tensors(
  rows: number,
  shapes: readonly { datatype: Tensor['datatype']; rest: number[] }[],
  seed: number,
): Tensor[] {
  let state = seed;
  const next = () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0);
  return shapes.map(({ datatype, rest }, at) => {
    const shape = [rows, ...rest];
    const count = shape.reduce((product, n) => product * n, 1);
    const list = Array.from({ length: count }, next);
    const big = list.map((n) => BigInt(n) * 2n ** 31n + BigInt(n % 1000));
    const data = {
      BOOL: () => Uint8Array.from(list, (n) => n % 2),
      UINT8: () => Uint8Array.from(list),
      UINT16: () => Uint16Array.from(list),
      UINT32: () => Uint32Array.from(list),
      UINT64: () => BigUint64Array.from(big),
      INT8: () => Int8Array.from(list),
      INT16: () => Int16Array.from(list),
      INT32: () => Int32Array.from(list),
      INT64: () => BigInt64Array.from(big, (n) => -n),
      FP16: () => Uint16Array.from(list, (n) => n % 0x7c00),
      FP32: () => Float32Array.from(list, (n) => n / 7),
      FP64: () => Float64Array.from(list, (n) => n / 7),
      BYTES: () => list.map((n) => Buffer.from('é'.repeat(n % 5))),
    }[datatype]();
    return { name: `t${at}`, datatype, data, shape, parameters: {} } as Tensor;
  });
}

describe('for any requests', () => {
  const datatype = fc.constantFrom<Tensor['datatype']>(
    ...(['BOOL', 'UINT8', 'UINT32', 'UINT64', 'INT64', 'FP16', 'FP32', 'FP64', 'BYTES'] as const),
  );
  const shapes = fc.array(
    fc.record({ datatype, rest: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 2 }) }),
    { minLength: 1, maxLength: 3 },
  );
  test('a server that answers with its inputs gives each request its own back, as JSON and as bytes', () => {
    fc.assert(
      fc.property(
        shapes,
        fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 5 }),
        fc.boolean(),
        fc.nat(),
        (kinds, sizes, isBinary, seed) => {
          const asked = sizes.map((rows, at) => ({
            id: at % 2 === 0 ? `id ${at}` : undefined,
            parameters: { binary_data_output: isBinary },
            inputs: tensors(rows, kinds, seed + at),
            outputs: undefined,
          }));
          const requests = asked.map((request): WireMessage => {
            const { body, headerLength } = encodeRequest(request, () => isBinary);
            return { body, headLength: headerLength ?? null };
          });
          const echo = ({ body, headLength }: WireMessage): WireMessage => {
            const request = decodeRequest({ body, headerLength: headLength ?? undefined }, 'm');
            const form = {
              ...request,
              outputs: request.inputs.map(({ name, datatype: type }) => ({
                name,
                parameters: { binary_data: isBinary || type === 'FP16' },
              })),
            };
            const answer = encodeResponse(
              { modelName: 'm', modelVersion: '1', id: request.id, parameters: {}, outputs: request.inputs },
              form,
            );
            return { body: answer.body, headLength: answer.headerLength ?? null };
          };
          const { keys, answers } = batch(v2Batch, requests, echo);
          expect(new Set(keys).size).toBe(1);
          expect(answers).toHaveLength(sizes.length);
          answers?.forEach(({ body, headLength }, at) => {
            const answer = decodeResponse({ body, headerLength: headLength ?? undefined }, 'm');
            expect(answer.outputs).toEqual(asked[at]?.inputs);
            expect(answer.id).toBe(asked[at]?.id);
          });
        },
      ),
      { numRuns: 200 },
    );
  });

  test('V1: a server that answers with its instances gives each request its own text back', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.json({ depthSize: 'small' }), { minLength: 1, maxLength: 4 }), {
          minLength: 1,
          maxLength: 5,
        }),
        (groups) => {
          const requests = groups.map((items) => json(`{"instances":[${items.join(', ')}]}`));
          const { answers } = batch(v1Batch, requests, (sent) =>
            json(textOf(sent).replace('"instances"', '"predictions"')),
          );
          expect(answers?.map(textOf)).toEqual(
            groups.map((items) => `{"predictions":[${items.join(', ')}]}`),
          );
        },
      ),
    );
  });

  test('no bytes make the readers throw', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.json().map((text) => Buffer.from(text)),
      fc
        .record({ inputs: fc.array(fc.jsonValue()), instances: fc.jsonValue() })
        .map((value) => Buffer.from(JSON.stringify(value))),
    );
    fc.assert(
      fc.property(bytes, fc.option(fc.nat(60)), (body, headLength) => {
        for (const form of [v1Batch, v2Batch]) expect(() => form.read({ body, headLength })).not.toThrow();
      }),
    );
  });
});
