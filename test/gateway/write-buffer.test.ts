import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { WriteBuffer } from '../../gateway/write-buffer.ts';

const latin1 = (max: number) =>
  fc.string({
    unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
    maxLength: max,
  });

test('head, body and tail come out one behind another, whichever memory they lie in', () => {
  const shared = new WriteBuffer(256);
  fc.assert(
    fc.property(latin1(80), fc.uint8Array({ maxLength: 200 }), latin1(20), (head, body, tail) => {
      const whole = Buffer.concat([Buffer.from(head, 'latin1'), body, Buffer.from(tail, 'latin1')]);
      const merged = shared.merge(head, body, tail);
      if (whole.length > 256) expect(merged).toBeNull();
      else expect(merged?.equals(whole)).toBe(true);
      expect(WriteBuffer.own(head, body, tail)?.equals(whole)).toBe(true);
    }),
  );
});

test('memory that was given away is not written again', () => {
  const shared = new WriteBuffer(64);
  const first = shared.merge('first', new Uint8Array(0));
  shared.give();
  shared.merge('other', new Uint8Array(0));
  expect(first?.toString()).toBe('first');
});

test('what is too much for one piece is for its writer to send', () => {
  expect(WriteBuffer.own('', new Uint8Array(16 * 1024))).not.toBeNull();
  expect(WriteBuffer.own('x', new Uint8Array(16 * 1024))).toBeNull();
});
