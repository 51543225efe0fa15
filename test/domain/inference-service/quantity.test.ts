import { expect, test } from '@jest/globals';
import { quantityValue } from '../../../domain/inference-service/quantity.ts';

test.each([
  ['512Ki', 524288],
  ['1Mi', 1048576],
  ['1M', 1e6],
  ['1.5Gi', 1.5 * 2 ** 30],
  ['250m', 0.25],
  ['1e3', 1000],
  ['2E', 2e18],
  ['.5', 0.5],
  ['5.', 5],
  ['-1', -1],
  [7, 7],
  ['', null],
  ['1Kb', null],
  ['Mi', null],
  ['1 Mi', null],
  [Number.NaN, null],
  ['1toString', null],
])('%p is %p', (quantity, expected) => {
  expect(quantityValue(quantity)).toBe(expected);
});
