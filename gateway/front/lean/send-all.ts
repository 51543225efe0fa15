import type { Socket } from 'node:net';
import { WriteBuffer } from '../../write-buffer.ts';
import { chunkEnd, chunkStart } from './chunk-framing.ts';

/**
 * Writes text, bytes and text with as few system calls as there can be. The bytes hold for this call alone.
 * @param writes shared by those who write; null: the socket always keeps what it is given (TLS)
 * @returns false when the socket takes no more for now
 */
export function sendAll(
  socket: Socket,
  writes: WriteBuffer | null,
  head: string,
  chunk: Uint8Array,
  tail: string,
): boolean {
  const whole = writes === null ? WriteBuffer.own(head, chunk, tail) : writes.merge(head, chunk, tail);
  return whole === null
    ? sendPieces(socket, head, Buffer.from(chunk), tail)
    : sendWhole(socket, writes, whole);
}

/** The same for a chunk of `transfer-encoding: chunked`. @param isFinal the body ends behind it */
export function sendChunk(
  socket: Socket,
  writes: WriteBuffer | null,
  payload: Uint8Array,
  isFinal: boolean,
): boolean {
  const whole = writes === null ? null : writes.mergeChunk(payload, isFinal);
  if (whole !== null) return sendWhole(socket, writes, whole);
  return sendAll(socket, writes, chunkStart(payload.length), payload, chunkEnd(isFinal));
}

function sendWhole(socket: Socket, writes: WriteBuffer | null, whole: Buffer): boolean {
  const takesMore = socket.write(whole);
  // What the system took at once need not be waited for, however much it was; its memory is free again.
  if (socket.writableLength === 0) return true;
  writes?.give();
  return takesMore;
}

function sendPieces(socket: Socket, head: string, chunk: Buffer, tail: string): boolean {
  socket.cork();
  if (head !== '') socket.write(head, 'latin1');
  let takesMore = socket.write(chunk);
  if (tail !== '') takesMore = socket.write(tail, 'latin1');
  socket.uncork();
  return takesMore || socket.writableLength === 0;
}
