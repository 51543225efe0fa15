import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { modelRanges, spliceModel } from '../../../domain/routing/splice-model.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const textOf = (body: Uint8Array) => new TextDecoder('utf-8', { ignoreBOM: true }).decode(body);

describe('spliceModel', () => {
  test.each([
    { name: 'a plain value', body: '{"model":"a","n":1}', out: '{"model":"b","n":1}' },
    {
      name: 'numbers that a double would round',
      body: '{"seed":12345678901234567890,"model":"a","x":1.10}',
      out: '{"seed":12345678901234567890,"model":"b","x":1.10}',
    },
    {
      name: 'duplicate keys, all of them',
      body: '{"model":"a","model":"c"}',
      out: '{"model":"b","model":"b"}',
    },
    { name: 'an escaped key', body: '{"mod\\u0065l":"a"}', out: '{"mod\\u0065l":"b"}' },
    {
      name: 'nested keys, which stay',
      body: '{"x":{"model":"a"},"y":[{"model":"a"}],"model":"a"}',
      out: '{"x":{"model":"a"},"y":[{"model":"a"}],"model":"b"}',
    },
    {
      name: 'a model named in text, which stays',
      body: '{"t":"\\"model\\":\\"a\\"","model":"a"}',
      out: '{"t":"\\"model\\":\\"a\\"","model":"b"}',
    },
    {
      name: 'spaces and lines',
      body: ' {\n  "model" :\t"a" ,\r\n "n": 1 } ',
      out: ' {\n  "model" :\t"b" ,\r\n "n": 1 } ',
    },
    { name: 'a byte order mark', body: '\ufeff{"model":"a"}', out: '\ufeff{"model":"b"}' },
    { name: 'a model that is no string', body: '{"model":null,"n":1}', out: '{"model":"b","n":1}' },
    { name: 'no model at all', body: '{"n":1}', out: '{"n":1}' },
    { name: 'a document that is no object', body: '["model","a"]', out: '["model","a"]' },
  ])('with $name', ({ body, out }) => {
    expect(textOf(spliceModel(bytes(body), 'b'))).toBe(out);
  });

  const document = fc.tuple(
    fc.dictionary(
      fc.string().filter((key) => key !== 'model' && key !== '__proto__'),
      fc.jsonValue(),
      { maxKeys: 6 },
    ),
    fc.string(),
    fc.constantFrom(undefined, 1, '\t'),
    fc.nat(6),
  );

  test('equals parse, change and print for any document, and leaves every other byte alone', () => {
    fc.assert(
      fc.property(document, fc.string(), ([rest, model, indent, place], next) => {
        const entries = Object.entries(rest);
        entries.splice(place, 0, ['model', model]);
        const body = bytes(JSON.stringify(Object.fromEntries(entries), null, indent));
        const out = spliceModel(body, next);
        expect(JSON.parse(textOf(out))).toEqual({ ...(JSON.parse(textOf(body)) as object), model: next });
        const [range] = modelRanges(body);
        const [from, to] = range!;
        const grown = bytes(JSON.stringify(next)).length - (to - from);
        expect(out.subarray(0, from)).toEqual(body.subarray(0, from));
        expect(out.subarray(to + grown)).toEqual(body.subarray(to));
      }),
    );
  });

  test('ends for any bytes at all', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (body) => {
        const document = new Uint8Array([...bytes('{"model":"'), ...body]);
        try {
          JSON.parse(textOf(document));
        } catch {
          return; // the gateway refuses it before
        }
        expect(spliceModel(document, 'b')).toBeInstanceOf(Uint8Array);
      }),
    );
  });
});
