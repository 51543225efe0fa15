import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { toldHead } from '../../../../gateway/front/headers.ts';
import { furtherHead, responseHead, sharedHead } from '../../../../gateway/front/lean/response-head.ts';

const value = fc.string({ unit: fc.constantFrom('a', 'B', ' ', '\t', '"', '\xe9', '7'), maxLength: 24 });
const names = ['content-type', 'x-engine', 'Date', 'date', 'x-engine-more', 'server', 'x', 'y'];
const field = fc.tuple(fc.constantFrom(...names), value);
const flatOf = (fields: readonly (readonly [string, string])[]) => fields.flat();

describe('the head that many answers share', () => {
  test('makes the same bytes with what each adds as if all had been written anew', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom(...names.filter((name) => name !== 'Date')), value),
        fc.array(fc.tuple(fc.constantFrom(200, 404), fc.array(field, { maxLength: 6 })), {
          minLength: 1,
          maxLength: 8,
        }),
        (shared, answers) => {
          const told = toldHead(shared);
          for (const [status, own] of answers) {
            const whole = responseHead(status, [...told.list, ...flatOf(own)]);
            expect(furtherHead(sharedHead(status, told), flatOf(own))).toEqual(whole);
          }
        },
      ),
    );
  });

  test('is not written again for the next answer', () => {
    const told = toldHead({ 'content-type': 'a/b', 'content-length': '7' });
    sharedHead(200, told);
    const second = sharedHead(200, told);
    expect(sharedHead(200, told)).toBe(second);
    expect(second).toEqual({
      status: 200,
      text: 'HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ncontent-length: 7\r\n',
      contentLength: 7,
      isLast: false,
      hasDate: false,
    });
  });

  test.each<[string, string[], object]>([
    ['a later length counts', ['content-length', '3'], { contentLength: 3 }],
    ['a later wish to close counts', ['connection', 'close'], { isLast: true }],
    ['a date is not said twice', ['date', 'now'], { hasDate: true }],
  ])('%s', (_what, own, wanted) => {
    const told = toldHead({ 'content-type': 'a/b' });
    expect(furtherHead(sharedHead(200, told), own)).toMatchObject(wanted);
    expect(furtherHead(sharedHead(200, told), [])).toMatchObject({
      contentLength: -1,
      isLast: false,
      hasDate: false,
    });
  });

  test.each<[string, string[]]>([
    ['a value that would end its line', ['x-evil', 'a\r\nx: y']],
    ['a value whose low byte would', ['x-evil', 'a\u010ab']],
    ['a name that is none', ['x evil', 'a']],
    ['a length that is none', ['content-length', '1x']],
  ])('%s is refused behind it, again and again', (_what, own) => {
    const told = toldHead({ 'x-evil': 'good', 'content-type': 'a/b' });
    for (let time = 0; time < 3; time += 1)
      expect(() => furtherHead(sharedHead(200, told), own)).toThrow(TypeError);
  });

  test('lines whose values change, and change back, are those of their values', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom('x-one', 'x-two'), fc.constantFrom('1', '22', '')), {
          maxLength: 40,
        }),
        (fields) => {
          const wanted = fields.map(([name, each]) => `${name}: ${each}\r\n`).join('');
          expect(responseHead(200, flatOf(fields)).text).toBe(`HTTP/1.1 200 OK\r\n${wanted}`);
        },
      ),
    );
  });
});
