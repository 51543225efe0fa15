import type { Socket } from 'node:net';
import { WriteBuffer, mergedBytesMax } from './write-buffer.ts';

/**
 * The small writes of one turn of the event loop, to clients and to servers, are made together at its end: a write wakes
 * whoever reads on the other side, and its code and ours take the caches from each other. 64 pieces written one behind
 * another cost up to a seventh less than each behind its own work (figures: bench/gateway/README.md). A turn ends
 * when all that had come is worked off.
 *
 * While pieces come alone in their turns there is nothing to gain: the first one of a turn is then written at once. What
 * somebody waits for, a request and the begin of an answer, need only be alone among its like, and goes before the chunks of
 * streams. A request does so only while a client's bytes are read. The system has then said whose bytes are there:
 * what is read of that server in the same turn was there before the request, and is no answer to it.
 */
const entriesMax = 256;
/** Room for pieces that wait, beside one of any size. A client that falls behind keeps all of it, once. */
const sharedBytes = 128 * 1024;
/** What is longer is written at once: to keep it costs more than is saved. */
const deferredBytesMax = 4 * 1024;
/** So many turns in a row with one piece each, and the next one is taken to be alone, too. */
const loneTurns = 4;
const nothing = Buffer.alloc(0);

/** Who has work of its own at the end of a turn. */
export interface TurnListener {
  /** A client's bytes are being worked off, as the system told that they are there. */
  readonly isReading: boolean;
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
  private readonly small = new Crowd();
  /** Of the small ones: requests, and what an answer begins with. */
  private readonly urgent = new Crowd();
  private listener: TurnListener | null = null;
  /** Small pieces so far. */
  smallPieces = 0;
  /** Turns that ended: what is read in the turn in which something was sent was there before it. */
  turns = 0;
  /** Pieces that waited, and how often those that did were written: for metrics. */
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
    setImmediate(this.endTurn);
  }

  /**
   * Text, bytes and text, behind whatever was sent to this socket before.
   * @param socket connected, and not of TLS, which always keeps what it is given
   * @param head of characters up to U+00FF, as is the tail
   * @returns false when the socket takes no more for now
   */
  send(socket: Socket, head: string, bytes: Uint8Array, tail: string): boolean {
    this.makeRoom();
    const piece = this.buffer.merge(head, bytes, tail);
    if (piece !== null) return this.putUrgent(socket, piece, true);
    this.settle(socket);
    return sendPieces(socket, head, Buffer.from(bytes), tail);
  }

  /** The same, of a request to a server, whose bytes stay as they are until they are written. */
  sendRequest(socket: Socket, head: string, body: Uint8Array): boolean {
    this.makeRoom();
    const piece = this.buffer.merge(head, body);
    if (piece !== null) return this.putUrgent(socket, piece, this.listener?.isReading === true);
    this.settle(socket);
    return sendPieces(socket, head, body, '');
  }

  /** A chunk of `transfer-encoding: chunked`. @param isFinal the body ends behind it @returns as `send`; null: too long */
  sendChunk(socket: Socket, payload: Uint8Array, isFinal: boolean): boolean | null {
    this.makeRoom();
    const piece = this.buffer.mergeChunk(payload, isFinal);
    return piece === null ? null : this.put(socket, piece, this.small.isAlone());
  }

  /** What waits for this socket is written now: somebody else is about to write to it, or to end it. */
  settle(socket: Socket): void {
    for (let at = 0; at < this.count; at += 1) {
      if (this.sockets[at] !== socket) continue;
      this.flush();
      return;
    }
  }

  private putUrgent(socket: Socket, piece: Buffer, mayGoAtOnce: boolean): boolean {
    const goesAtOnce = mayGoAtOnce && this.urgent.isAlone();
    this.urgent.now += 1;
    return this.put(socket, piece, goesAtOnce);
  }

  private put(socket: Socket, piece: Buffer, goesAtOnce: boolean): boolean {
    if (piece.length > deferredBytesMax || socket.writableLength > 0) return this.writeNow(socket, piece);
    this.small.now += 1;
    this.smallPieces += 1;
    this.awaitTurn();
    if (goesAtOnce) return this.writeNow(socket, piece);
    this.sockets[this.count] = socket;
    this.pieces[this.count] = piece;
    this.count += 1;
    this.deferred += 1;
    this.buffer.keep(piece.length);
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
      if (socket === null) continue;
      // Not asked whether it is destroyed, since that memory is cold: then it takes nothing, and says so to nobody.
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
      this.flush();
    } finally {
      this.isTurnAwaited = false;
      this.turns += 1;
      this.small.endTurn();
      this.urgent.endTurn();
    }
    this.listener?.afterWrites();
  };
}

/** Whether pieces of a kind come alone in their turns. */
class Crowd {
  /** In this turn. */
  now = 0;
  /** Turns in a row that had one; those that had none do not count. */
  private lone = 0;

  /** Whether the next one is taken to be alone in this turn. */
  isAlone(): boolean {
    return this.now === 0 && this.lone >= loneTurns;
  }

  endTurn(): void {
    if (this.now > 0) this.lone = this.now === 1 ? this.lone + 1 : 0;
    this.now = 0;
  }
}

/** What is too long to be put together goes by one gathering write. */
export function sendPieces(socket: Socket, head: string, bytes: Uint8Array, tail: string): boolean {
  socket.cork();
  if (head !== '') socket.write(head, 'latin1');
  let takesMore = socket.write(bytes);
  if (tail !== '') takesMore = socket.write(tail, 'latin1');
  socket.uncork();
  return takesMore || socket.writableLength === 0;
}
