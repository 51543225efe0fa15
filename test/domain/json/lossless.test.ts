import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseKeepingText, parseLossless } from '../../../domain/json/lossless.ts';

const again = (text: string) => JSON.stringify(parseLossless(text));

describe('numbers that a double cannot hold', () => {
  test.each([
    '{"a":9007199254740993}',
    '[0.12345678901234567890]',
    '{"deep":[{"id":-123456789012345678901234567890}]}',
    '[1e400,12345678901234567890]',
    '[123456789.123456789]',
  ])('%s comes out as it went in', (text) => {
    expect(again(text)).toBe(text);
  });

  test('ordinary numbers are numbers', () => {
    expect(parseLossless('{"a":1.5,"b":9007199254740991,"c":"12345678901234567890"}')).toEqual({
      a: 1.5,
      b: 9007199254740991,
      c: '12345678901234567890',
    });
  });

  test('every document means what JSON.parse says it means, whatever its digits', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(JSON.parse(again(text))).toEqual(JSON.parse(JSON.stringify(JSON.parse(text))));
      }),
    );
    fc.assert(
      fc.property(fc.bigInt(), (big) => {
        expect(again(`[${big}]`)).toBe(`[${big}]`);
      }),
    );
  });
});

describe('numbers whose text counts', () => {
  test.each(['{"seed":1.0}', '[1e5,-0,1.50]', '{"a":9007199254740993,"b":2}'])(
    '%s comes out as it went in',
    (text) => {
      expect(JSON.stringify(parseKeepingText(text))).toBe(text);
    },
  );

  test('a number that is written plainly is a number', () => {
    expect(parseKeepingText('{"a":1.5,"b":-2}')).toEqual({ a: 1.5, b: -2 });
  });
});
