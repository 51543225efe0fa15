import { describe, expect, test } from '@jest/globals';
import { sharesOf } from '../../../bench/gateway/steps/analysis.ts';

const memory = [
  '00400000-00500000 r-xp 00000000 fe:00 7 /usr/bin/node',
  '10000000-10100000 rwxp 00000000 00:00 0 ',
  '20000000-20100000 rw-p 00000000 00:00 0 ',
].join('\n');
const compiled = [
  '10000000 100 JS:~first file:///here/gateway/a.ts:1:2',
  '10000000 100 JS:*second file:///here/gateway/a.ts:3:4',
  '10001000 80 JS:+third node:net:5:6',
  '10002000 80 JS:^listOnTimeout node:internal/timers:7:8',
  '10003000 80 RegExp.<x>',
].join('\n');
const shares = (addresses: number[]) =>
  sharesOf(BigUint64Array.from(addresses.map(BigInt)), { memory, compiled, root: '/here/' });

describe('what instructions belong to', () => {
  test('the function at work, with all that it calls of node; what lay in its place before it does not count', () => {
    expect(shares([0x400000, 0x10000000, 0x400040, 0x400041, 0x10001000, 0x10000004])).toEqual([
      { name: 'second gateway/a.ts:3:4', instructions: 4, lines: 2, pages: 1 },
      { name: '(node)', instructions: 1, lines: 1, pages: 1 },
      { name: 'third node:net:5:6', instructions: 1, lines: 1, pages: 1 },
      { name: 'all', instructions: 6, lines: 4, pages: 3 },
    ]);
  });

  test('node’s timers count for nothing, nor does what they call; code without a name goes on for who was at work', () => {
    expect(shares([0x10001000, 0x10002000, 0x400000, 0x10003000, 0x10001004, 0x100010ff])).toEqual([
      { name: 'third node:net:5:6', instructions: 3, lines: 2, pages: 1 },
      { name: 'all', instructions: 3, lines: 2, pages: 1 },
    ]);
  });
});
