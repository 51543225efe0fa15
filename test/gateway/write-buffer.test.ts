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

test('a chunk is framed as its size says, and ends the body where it is the last', () => {
  const shared = new WriteBuffer(256);
  const payload = fc.uint8Array({ minLength: 1, maxLength: 300 });
  fc.assert(
    fc.property(payload, fc.boolean(), (bytes, isFinal) => {
      const merged = shared.mergeChunk(bytes, isFinal);
      if (bytes.length > 239) expect(merged).toBeNull();
      else {
        const size = `${bytes.length.toString(16)}\r\n`;
        const whole = Buffer.concat([
          Buffer.from(size),
          bytes,
          Buffer.from(isFinal ? '\r\n0\r\n\r\n' : '\r\n'),
        ]);
        expect(merged?.equals(whole)).toBe(true);
      }
    }),
  );
});

test('memory that was given away is not written again', () => {
  const shared = new WriteBuffer(64);
  const first = shared.merge('first', new Uint8Array(0));
  const chunk = shared.mergeChunk(Buffer.from('ab'), false);
  expect(chunk?.toString()).toBe('2\r\nab\r\n');
  shared.merge('first', new Uint8Array(0));
  shared.give();
  shared.merge('other', new Uint8Array(0));
  shared.mergeChunk(Buffer.from('cde'), false);
  expect(first?.toString()).toBe('first');
  expect(chunk?.subarray(5).toString()).toBe('\r\n');
});

test('what is kept stays until all is cleared, and no piece is larger than what is left', () => {
  const shared = new WriteBuffer(64);
  const first = shared.merge('first', Buffer.from('-'));
  shared.keep(6);
  const second = shared.mergeChunk(Buffer.from('ab'), false);
  shared.keep(7);
  expect(shared.left).toBe(51);
  expect(shared.merge('', new Uint8Array(52))).toBeNull();
  expect(shared.mergeChunk(new Uint8Array(35), false)).toBeNull();
  expect(`${String(first)}${String(second)}`).toBe('first-2\r\nab\r\n');
  shared.clear();
  expect(shared.left).toBe(64);
  expect(shared.merge('other', Buffer.from('-'))?.byteOffset).toBe(first?.byteOffset);
});

test('what is too much for one piece is for its writer to send', () => {
  expect(WriteBuffer.own('', new Uint8Array(16 * 1024))).not.toBeNull();
  expect(WriteBuffer.own('x', new Uint8Array(16 * 1024))).toBeNull();
});
