import type { Socket } from 'node:net';
import type { SocketReads } from './socket-reads.ts';

/** What a connection hears of its socket. */
export interface SocketListener {
  onData(chunk: Buffer): void;
  onEnd(): void;
  onDrain(): void;
  onClose(): void;
}

/**
 * @param reads shared, where the socket can be read so; else its bytes come as events
 * @returns takes the listeners away again
 */
export function listen(socket: Socket, listener: SocketListener, reads: SocketReads): () => void {
  const onData = (chunk: Buffer) => {
    listener.onData(chunk);
  };
  const onEnd = () => {
    listener.onEnd();
  };
  const onDrain = () => {
    listener.onDrain();
  };
  const onClose = () => {
    listener.onClose();
  };
  const detachReads = reads.attach(socket, onData);
  if (detachReads === null) {
    socket.on('data', onData);
    readsAhead(socket, false);
  }
  socket.on('end', onEnd).on('drain', onDrain).on('close', onClose).on('error', ignore);
  return () => {
    if (detachReads === null) readsAhead(socket.off('data', onData), true);
    else detachReads();
    socket.off('end', onEnd).off('drain', onDrain).off('close', onClose);
    socket.off('error', ignore);
  };
}

/**
 * Tells a socket's new listeners its last bytes and then its end: a stream that told its end before takes nothing back.
 * The end comes in a turn of its own, as it does from the system, so that what is answered at once is written.
 */
export function tellEnd(socket: Socket, bytes: Buffer): void {
  socket.emit('data', bytes);
  setImmediate(() => {
    if (!socket.destroyed) socket.emit('end');
  });
}

/** `close` follows each error, and tells what is to be done. */
export function ignore(): void {
  // nothing
}

/**
 * A readable stream plans, after each piece, to ask its source for more in the next tick. A socket in flow reads all
 * the time, so the plan does nothing but cost a tick each time, 3 to 5 % of a read and a write. A stream that believes
 * the plan to be made already makes no other: `readingMore` is node's own note of that, and nothing else reads it.
 */
function readsAhead(socket: Socket, isWanted: boolean): void {
  const { _readableState: state } = socket as { _readableState?: { readingMore?: boolean } };
  if (state !== undefined) state.readingMore = !isWanted;
}
