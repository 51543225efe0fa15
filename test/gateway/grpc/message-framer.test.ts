import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { MessageFramer } from '../../../gateway/grpc/message-framer.ts';
import { framed } from '../../fixtures/grpc/raw-client.ts';

describe('MessageFramer', () => {
  test('finds the messages again, wherever their bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ length: fc.nat(400), isCompressed: fc.boolean() }), { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 300 })),
        (messages, cuts) => {
          const sent = messages.map(({ length, isCompressed }) =>
            framed(Buffer.alloc(length, 7), { isCompressed }),
          );
          const bytes = Buffer.concat(sent);
          const framer = new MessageFramer();
          const found: Buffer[] = [];
          let parts: Buffer[] = [];
          let at = 0;
          for (const cut of [...cuts, bytes.length]) {
            const chunk = bytes.subarray(at, at + cut);
            for (let read = 0; read < chunk.length;) {
              const length = framer.read(chunk, read);
              parts.push(chunk.subarray(read, read + length));
              read += length;
              if (!framer.isWhole) continue;
              const message = Buffer.concat(parts);
              expect([framer.size, framer.lengthSaid]).toEqual([message.length, message.length - 5]);
              expect(framer.isCompressed).toBe(message[0] === 1);
              found.push(message);
              parts = [];
            }
            at += cut;
          }
          expect(framer.isWhole).toBe(true);
          expect(found).toEqual(sent);
        },
      ),
    );
  });
});
