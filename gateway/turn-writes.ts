import type { Socket } from 'node:net';
import { WriteBuffer, mergedBytesMax } from './write-buffer.ts';

/**
 * The small writes of one turn of the event loop, to clients and to servers, are made together at its end: a write wakes
 * whoever reads on the other side, and its code and ours take the caches from each other. 64 pieces written one behind
 * another cost up to a seventh less than each behind its own work (figures: bench/gateway/README.md). A turn ends
 * when all that had come is worked off.
 *
 * While pieces come alone in their turns there is nothing to gain: they are written at once, and only now and then
 * one waits, to see whether others come with it. Node's way to the end of a turn is as much code as a write.
 */
const entriesMax = 256;
/** Room for pieces that wait, beside one of any size. A client that falls behind keeps all of it, once. */
const sharedBytes = 128 * 1024;
/** What is longer is written at once: to keep it costs more than is saved. */
const deferredBytesMax = 4 * 1024;
/** So many turns with one piece each, and pieces are taken to come alone; then so many are written at once. */
const loneTurns = 4;
const loneWrites = 9;
const nothing = Buffer.alloc(0);

/** Who has work of its own at the end of a turn. */
export interface TurnListener {
  /** May still send. */
  beforeWrites(): void;
  /** What was sent has been given to the system, as far as it takes it. */
  afterWrites(): void;
}

export class TurnWrites {
  private readonly buffer = new WriteBuffer(sharedBytes);
  private readonly sockets: (Socket | null)[] = new Array<Socket | null>(entriesMax).fill(null);
  private readonly pieces: Buffer[] = new Array<Buffer>(entriesMax).fill(nothing);
  private count = 0;
  private isTurnAwaited = false;
  /** Turns in a row that had one piece; from `loneTurns` on also the pieces that were written at once. */
  private lone = 0;
  private listener: TurnListener | null = null;
  /** Pieces that waited, and how often those that did were written: for metrics, and to tell whether one still waits. */
  deferred = 0;
  flushes = 0;

  /** @throws when somebody listens already: one front shares it with those who ask servers */
  listen(listener: TurnListener): void {
    if (this.listener !== null) throw new Error('the turns have their listener');
    this.listener = listener;
  }

  /** The listener will be called at the end of this turn, whether or not anything is sent. */
  awaitTurn(): void {
    if (this.isTurnAwaited) return;
    this.isTurnAwaited = true;
    if (this.lone < loneTurns) setImmediate(this.endTurn);
    else void resolved.then(this.endTurn); // behind whoever is at work now
  }

  /**
   * Text, bytes and text, behind whatever was sent to this socket before.
   * @param socket connected, and not of TLS, which always keeps what it is given
   * @param head of characters up to U+00FF, as is the tail
   * @param isLasting the bytes stay as they are until they are written; else they hold for this call alone
   * @returns false when the socket takes no more for now
   */
  send(socket: Socket, head: string, bytes: Uint8Array, tail: string, isLasting = false): boolean {
    this.makeRoom();
    const piece = this.buffer.merge(head, bytes, tail);
    if (piece !== null) return this.put(socket, piece);
    this.settle(socket);
    return sendPieces(socket, head, isLasting ? bytes : Buffer.from(bytes), tail);
  }

  /** A chunk of `transfer-encoding: chunked`. @param isFinal the body ends behind it @returns as `send`; null: too long */
  sendChunk(socket: Socket, payload: Uint8Array, isFinal: boolean): boolean | null {
    this.makeRoom();
    const piece = this.buffer.mergeChunk(payload, isFinal);
    return piece === null ? null : this.put(socket, piece);
  }

  /** What waits for this socket is written now: somebody else is about to write to it, or to end it. */
  settle(socket: Socket): void {
    for (let at = 0; at < this.count; at += 1) {
      if (this.sockets[at] !== socket) continue;
      this.flush();
      return;
    }
  }

  private put(socket: Socket, piece: Buffer): boolean {
    if (piece.length > deferredBytesMax || socket.writableLength > 0) return this.writeNow(socket, piece);
    if (this.lone >= loneTurns && this.count === 0) {
      this.lone = this.lone < loneTurns + loneWrites ? this.lone + 1 : loneTurns - 1;
      return this.writeNow(socket, piece);
    }
    this.sockets[this.count] = socket;
    this.pieces[this.count] = piece;
    this.count += 1;
    this.deferred += 1;
    this.buffer.keep(piece.length);
    this.awaitTurn();
    return true;
  }

  private writeNow(socket: Socket, piece: Buffer): boolean {
    this.settle(socket); // nothing is merged meanwhile: the piece is still there
    // Whoever is behind keeps its own bytes: of the shared memory it would keep all, for each of them.
    if (socket.writableLength > 0) return socket.write(Buffer.from(piece));
    const takesMore = socket.write(piece);
    // What the system took at once need not be waited for, however much it was; its memory is free again.
    if (socket.writableLength === 0) return true;
    this.buffer.give();
    return takesMore;
  }

  private makeRoom(): void {
    if (this.count === entriesMax || this.buffer.left < mergedBytesMax) this.flush();
  }

  private flush(): void {
    const { count, pieces, sockets } = this;
    if (count === 0) return;
    let isHeld = false;
    for (let at = 0; at < count; at += 1) {
      const socket = sockets[at] ?? null;
      sockets[at] = null;
      if (socket === null || socket.destroyed) continue;
      socket.write(pieces[at] ?? nothing);
      if (socket.writableLength > 0) isHeld = true;
    }
    this.count = 0;
    this.flushes += 1;
    if (isHeld) {
      pieces.fill(nothing, 0, count); // else they would keep that memory, too
      this.buffer.give();
    } else this.buffer.clear();
  }

  private readonly endTurn = (): void => {
    try {
      this.listener?.beforeWrites();
      if (this.count > 0) this.lone = this.count === 1 ? this.lone + 1 : 0;
      this.flush();
    } finally {
      this.isTurnAwaited = false;
    }
    this.listener?.afterWrites();
  };
}

const resolved = Promise.resolve();

/** What is too long to be put together goes by one gathering write. */
export function sendPieces(socket: Socket, head: string, bytes: Uint8Array, tail: string): boolean {
  socket.cork();
  if (head !== '') socket.write(head, 'latin1');
  let takesMore = socket.write(bytes);
  if (tail !== '') takesMore = socket.write(tail, 'latin1');
  socket.uncork();
  return takesMore || socket.writableLength === 0;
}
