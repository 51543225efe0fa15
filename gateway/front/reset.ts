import type { Socket } from 'node:net';

/**
 * Breaks a connection so that no client can take what it has for the whole: a reset, not an ordinary close, which to an
 * HTTP/1.0 client would look like the end of the body. TLS tells a broken connection from an ended one by itself; a
 * side that is closed cannot be reset as well.
 */
export function reset(socket: Socket): void {
  if ('encrypted' in socket || socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}
