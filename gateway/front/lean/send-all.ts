import type { Socket } from 'node:net';
import { sendPieces } from '../../turn-writes.ts';
import type { TurnWrites } from '../../turn-writes.ts';
import { WriteBuffer } from '../../write-buffer.ts';
import { chunkEnd, chunkStart } from './chunk-framing.ts';

/**
 * Writes text, bytes and text with as few system calls as there can be. The bytes hold for this call alone.
 * @param writes shared by those who write; null: the socket always keeps what it is given (TLS)
 * @returns false when the socket takes no more for now
 */
export function sendAll(
  socket: Socket,
  writes: TurnWrites | null,
  head: string,
  chunk: Uint8Array,
  tail: string,
): boolean {
  if (writes !== null) return writes.send(socket, head, chunk, tail);
  const whole = WriteBuffer.own(head, chunk, tail);
  return whole === null
    ? sendPieces(socket, head, Buffer.from(chunk), tail)
    : socket.write(whole) || socket.writableLength === 0;
}

/** The same for a chunk of `transfer-encoding: chunked`. @param isFinal the body ends behind it */
export function sendChunk(
  socket: Socket,
  writes: TurnWrites | null,
  payload: Uint8Array,
  isFinal: boolean,
): boolean {
  const isTaken = writes?.sendChunk(socket, payload, isFinal) ?? null;
  return isTaken ?? sendAll(socket, writes, chunkStart(payload.length), payload, chunkEnd(isFinal));
}
