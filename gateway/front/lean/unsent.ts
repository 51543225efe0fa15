import type { Socket } from 'node:net';

interface Handle {
  readonly writeQueueSize?: number;
  /** Of TLS: what it writes to. */
  readonly _parent?: Handle | null;
}

/**
 * A figure that changes whenever the system takes bytes of what the socket was given, and with nothing else while
 * nothing is given. `writableLength` counts a write as a whole until its last byte is taken; how much of it is left
 * only the handle knows, which node's own timeouts ask, too.
 */
export function unsent(socket: Socket): number {
  const { _handle: handle } = socket as { _handle?: Handle | null };
  return socket.writableLength + ((handle?._parent ?? handle)?.writeQueueSize ?? 0);
}
