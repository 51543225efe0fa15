import { describe, expect, test } from '@jest/globals';
import { startOf } from '../../../domain/process/process-stat.ts';

const rest = '1 7 7 0 -1 4194304 9 0 0 0 1 1 0 0 20 0 11 0 12345 99 88';

describe('the start of a process', () => {
  test.each([
    ['its name may hold what separates fields', `7 (a b) c) (d) S ${rest}`, 'b00t/12345'],
    ['a zombie does not run', `7 (node) Z ${rest}`, null],
    ['nor does one that is being taken away', `7 (node) X ${rest}`, null],
    ['half a line tells nothing', '7 (x) S 1 7', null],
    ['nor does none', '', null],
  ])('%s', (_what, stat, start) => {
    expect(startOf(stat, 'b00t\n')).toBe(start);
  });
});
