import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { describeJsonError, locateJsonError } from '../../../domain/routing/json-error.ts';

describe('where a text stops being JSON', () => {
  test.each([
    ['{"a": }', 6],
    ['{"a": 1,}', 8],
    ['[1, 2', 5],
    ['{"a" 1}', 5],
    ['{"a": 1} x', 9],
    ['{a: 1}', 1],
    ['"a\nb"', 2],
    ['"a\\xb"', 2],
    ['[1 2]', 3],
    ['nul', 0],
    ['[1}', 2],
    ['{"a": "unended', 14],
  ])('%j: at %d', (text, offset) => {
    expect(locateJsonError(text).offset).toBe(offset);
  });

  test('is told by line and column, and by what is there', () => {
    expect(describeJsonError('{\n  "a": ?\n}')).toBe('unexpected character at position 9 (line 2, column 8)');
    expect(describeJsonError('{"a": [')).toBe('it ends too early at position 7 (line 1, column 8)');
    expect(describeJsonError(' \n')).toBe('the body is empty');
  });

  test('is the end of a document that was cut, wherever it was cut', () => {
    const cut = fc.json().chain((text) => fc.tuple(fc.constant(text), fc.nat({ max: text.length - 1 })));
    fc.assert(
      fc.property(cut, ([text, at]) => {
        const part = text.slice(0, at);
        fc.pre(!isJson(part));
        expect(locateJsonError(part).offset).toBeLessThanOrEqual(part.length);
      }),
    );
  });

  test('ends for any text that is not JSON, and lies within it', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        fc.pre(!isJson(text));
        const { offset, line, column } = locateJsonError(text);
        expect(offset).toBeGreaterThanOrEqual(0);
        expect(offset).toBeLessThanOrEqual(text.length);
        expect(line).toBeGreaterThan(0);
        expect(column).toBeGreaterThan(0);
      }),
    );
  });
});

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
