import { expect, test } from '@jest/globals';
import { splice } from '../../../domain/routing/splice.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

test.each<[string, readonly (readonly [number, number])[], string]>([
  ['nothing', [], 'abcdef'],
  ['a range', [[1, 3]], 'aXXXdef'],
  [
    'two, one of them at the end',
    [
      [0, 1],
      [4, 6],
    ],
    'XXXbcdXXX',
  ],
  ['an empty range', [[5, 5]], 'abcdeXXXf'],
  ['all of it', [[0, 6]], 'XXX'],
])('%s is replaced', (_name, ranges, expected) => {
  const document = bytes('abcdef');
  expect(new TextDecoder().decode(splice(document, ranges, bytes('XXX')))).toBe(expected);
  expect(document).toEqual(bytes('abcdef'));
});
