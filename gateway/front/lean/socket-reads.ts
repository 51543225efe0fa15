import { Socket } from 'node:net';

/**
 * One piece of memory that all plain client sockets are read into, as servers' sockets are by `onread`. Node gives each
 * read 64 KiB of its own else, and copies what came into memory that its collector has to look after: three objects a
 * request, and none of it in the caches. `net.connect` takes `onread`; sockets of a server are made without it,
 * so it is put where their constructor would have put it. Where this node keeps them elsewhere, sockets are read as ever.
 */
const readBytesMax = 64 * 1024;

export class SocketReads {
  /** While bytes are handed on, they are lent: they hold until the next read of whichever socket. */
  isLending = false;
  private readonly bytes = Buffer.allocUnsafeSlow(readBytesMax);
  private readonly isScribbling: boolean;

  /** @param isScribbling for tests: bytes are overwritten once they were handed on */
  constructor(isScribbling: boolean) {
    this.isScribbling = isScribbling;
  }

  /**
   * @param socket new, of a server; who gets its handle later reads it as any other
   * @param onData its bytes hold for this call alone
   * @returns gives what comes from now on to the socket's own stream; null: this socket cannot be read so
   */
  attach(socket: Socket, onData: (bytes: Buffer) => void): (() => void) | null {
    const { bytes, isScribbling } = this;
    const inner = socket as unknown as Inner;
    const handle = inner._handle;
    if (slots === null || 'encrypted' in socket || typeof handle?.useUserBuffer !== 'function') return null;
    let isOurs = true;
    inner[slots.buffer] = bytes;
    inner[slots.callback] = (length: number): boolean => {
      if (!isOurs) return socket.push(Buffer.from(bytes.subarray(0, length)));
      this.isLending = true; // one flag: to ask bytes for their memory costs more than to copy them
      try {
        onData(bytes.subarray(0, length));
      } finally {
        this.isLending = false;
      }
      if (isScribbling) bytes.fill(0xdb, 0, length);
      return true;
    };
    handle.useUserBuffer(bytes);
    return () => {
      isOurs = false;
    };
  }
}

interface Inner {
  _handle?: { useUserBuffer?: (bytes: Uint8Array) => void } | null;
  [slot: symbol]: unknown;
}

/** Where a socket keeps its `onread`; null: not where we know it. */
const slots = findSlots();

function findSlots(): { readonly buffer: symbol; readonly callback: symbol } | null {
  const bytes = Buffer.alloc(1);
  const callback = (): boolean => true;
  const probe = new Socket({ onread: { buffer: bytes, callback } }) as unknown as Inner;
  const symbols = Object.getOwnPropertySymbols(probe);
  const at = (value: unknown): symbol | undefined => symbols.find((symbol) => probe[symbol] === value);
  const found = { buffer: at(bytes), callback: at(callback) };
  return found.buffer === undefined || found.callback === undefined
    ? null
    : { buffer: found.buffer, callback: found.callback };
}
