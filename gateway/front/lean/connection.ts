import { Buffer } from 'node:buffer'; // the global one is got anew at each use
import type { Socket } from 'node:net';
import type { TurnWrites } from '../../turn-writes.ts';
import type { PeerCertificate } from '../peer.ts';
import { isLoopback, peerOf } from '../peer.ts';
import { reset } from '../reset.ts';
import { BodyReader } from './body-reader.ts';
import { BodyShare } from './body-share.ts';
import { hasBareLineFeed, parseHead } from './head.ts';
import type { Match, Oddity, RequestHead } from './head.ts';
import { states } from './connection-state.ts';
import type { State } from './connection-state.ts';
import type { ConnectionHost, HeldConnection } from './host.ts';
import { LeanExchange } from './lean-exchange.ts';
import type { Wire } from './lean-exchange.ts';
import { sendAll, sendChunk } from './send-all.ts';
import { ignore, listen, tellEnd } from './socket-events.ts';
import type { SocketListener } from './socket-events.ts';
import { unsent } from './unsent.ts';

/** Bytes of further requests that wait in memory before the socket is read no more. */
const pendingBytesMax = 80 * 1024;
/** Larger heads are not kept for comparison with the next: idle connections should cost little. */
const rememberedBytesMax = 4 * 1024;
const headEnd = Buffer.from('\r\n\r\n');
const nothing = Buffer.alloc(0);
const match: Match = { bodyAt: 0, length: 0 };

/**
 * One client connection, read request by request: the next one is begun when the answer before it has ended, and
 * what comes meanwhile waits, within a bound. The first byte that is not plain HTTP/1.1 (head.ts) goes, with
 * all after it, to node's own parser; what was served before stays served.
 */
export class LeanConnection implements Wire, HeldConnection, SocketListener {
  deadline = 0;
  private readonly front: ConnectionHost;
  private readonly socket: Socket;
  /** Null for TLS. */
  private readonly writes: TurnWrites | null;
  private readonly detach: () => void;
  private state: State = states.head;
  private head: RequestHead | null = null;
  /** Bytes of a head that is not whole, or of what follows the request being answered. */
  private pending: Buffer = nothing;
  private body: BodyReader | null = null;
  private exchange: LeanExchange | null = null;
  private readonly share: BodyShare;
  private isPaused = false;
  /** The client closed its side behind requests that still wait. */
  private hasLeft = false;
  /** While flushing: `unsent` as it was at the last look. */
  private unsent = 0;
  /** Tick at which the first byte of the current request came, or the last answer ended. */
  private sinceTick: number;
  private certificate: PeerCertificate | null | undefined = undefined;

  constructor(front: ConnectionHost, socket: Socket) {
    this.front = front;
    this.socket = socket;
    this.share = new BodyShare(front.bodies);
    this.writes = 'encrypted' in socket ? null : front.writes;
    this.sinceTick = front.tick;
    this.deadline = front.tick + front.ticks.head;
    this.detach = listen(socket, this, front.reads);
  }

  get isLocal(): boolean {
    return isLoopback(this.socket.remoteAddress);
  }

  get peer(): PeerCertificate | null {
    if (this.certificate === undefined) this.certificate = peerOf(this.socket);
    return this.certificate;
  }

  onData(chunk: Buffer): void {
    switch (this.state) {
      case states.head: {
        const isFresh = this.pending.length === 0;
        if (isFresh) this.sinceTick = this.front.tick;
        this.read(isFresh ? chunk : Buffer.concat([this.pending, chunk]));
        return;
      }
      case states.body:
        this.readBody(chunk);
        return;
      case states.answering:
      case states.flushing:
        this.keep(this.pending.length === 0 ? this.own(chunk) : Buffer.concat([this.pending, chunk]));
        return;
      default: // dropped
    }
  }

  /**
   * The client closed its side. In the midst of an answer it is taken to have left, as nginx and node do; behind one
   * it may still be reading, and what it asked for before is answered.
   */
  onEnd(): void {
    const { exchange } = this;
    if (exchange?.isEnded === true) {
      if (this.pending.length > 0) this.hasLeft = true;
      else exchange.isLast = true;
    } else if (this.state !== states.lingering) this.close();
  }

  onDrain(): void {
    this.exchange?.drained();
  }

  onClose(): void {
    const { exchange } = this;
    this.leave();
    this.detach();
    exchange?.closed(false);
  }

  isIdleSince(ticks: number): boolean {
    const isIdle = this.state === states.head && this.pending.length === 0;
    return isIdle && this.front.tick - this.sinceTick >= ticks;
  }

  close(): void {
    this.writes?.settle(this.socket); // an answer that was given is not lost
    this.socket.destroy();
  }

  expire(): void {
    const { front } = this;
    if (this.state === states.body) {
      front.counts.timedOut += 1;
      this.refuse((exchange) => {
        front.refuseSlow(exchange);
      });
    } else if (this.state === states.head && this.pending.length > 0) {
      front.counts.timedOut += 1;
      this.handOverSlow();
    } else if (this.state === states.flushing) this.lookAgain();
    else this.close();
  }

  /** A client that takes its answer slowly is not one that takes nothing. */
  private lookAgain(): void {
    const left = unsent(this.socket);
    if (left === this.unsent) this.reset();
    this.unsent = left;
    this.deadline = this.front.tick + this.front.ticks.stall;
  }

  send(text: string): boolean {
    return sendAll(this.socket, this.writes, text, nothing, '');
  }

  sendAll(head: string, chunk: Uint8Array, tail: string): boolean {
    return sendAll(this.socket, this.writes, head, chunk, tail);
  }

  sendChunk(payload: Uint8Array, isFinal: boolean): boolean {
    return sendChunk(this.socket, this.writes, payload, isFinal);
  }

  dateLine(): string {
    return this.front.dateLine();
  }

  keepLines(isLast: boolean): string {
    if (!isLast && !this.front.isClosing()) return this.front.keepAliveLines;
    if (this.exchange !== null) this.exchange.isLast = true;
    return 'connection: close\r\n';
  }

  reset(): void {
    this.writes?.settle(this.socket); // what was given before goes before
    reset(this.socket);
  }

  flushLater(exchange: LeanExchange): void {
    this.front.later(exchange);
  }

  onFault(error: unknown): void {
    this.front.onFault(error);
  }

  answered(): void {
    this.front.settleLater(this);
  }

  /** At the end of the turn in which the answer ended, when it is written: its listeners run after the caller's own work. */
  settle(): void {
    if (this.state !== states.answering || this.socket.destroyed) return; // `close` tells the rest
    if (this.socket.writableLength === 0) {
      this.finish();
      return;
    }
    this.state = states.flushing;
    this.unsent = unsent(this.socket);
    this.deadline = this.front.tick + this.front.ticks.stall;
    this.socket.write(nothing, (error) => {
      if ((error === null || error === undefined) && this.state === states.flushing) this.finish();
    });
  }

  private finish(): void {
    const { exchange, front } = this;
    const isLast = exchange?.isLast === true;
    this.exchange = null;
    this.state = states.head;
    if (this.head !== null && this.head.size > rememberedBytesMax) this.head = null;
    this.share.release();
    this.sinceTick = front.tick;
    this.deadline = front.tick + front.ticks.idle;
    exchange?.closed(true);
    if (isLast) this.linger();
    else if (this.pending.length > 0) this.goOn();
  }

  /** A request that came while the one before it was answered. */
  private goOn(): void {
    const bytes = this.pending;
    this.front.bodies.give(bytes.length);
    this.pending = nothing;
    if (this.isPaused) {
      this.isPaused = false;
      this.socket.resume();
    }
    this.read(bytes);
  }

  /** @param bytes from the begin of a request */
  private read(bytes: Buffer): void {
    if (this.head?.matches(bytes, 0, match) === true) {
      this.begin(this.head, bytes, match.bodyAt, match.length);
      return;
    }
    const { headerBytesMax } = this.front.limits;
    const end = bytes.indexOf(headEnd);
    if (end > headerBytesMax || (end < 0 && bytes.length > headerBytesMax)) this.handOver(bytes, 'size');
    else if (end < 0) this.wait(bytes);
    else {
      const bodyAt = end + headEnd.length;
      const parsed = parseHead(bytes.subarray(0, bodyAt));
      if (typeof parsed === 'string') this.handOver(bytes, parsed);
      else {
        this.head = parsed;
        this.begin(parsed, bytes, bodyAt, Math.max(0, parsed.contentLength));
      }
    }
  }

  /** The head is not whole. A line feed alone would end it for others, never for us. */
  private wait(bytes: Buffer): void {
    if (hasBareLineFeed(bytes)) {
      this.handOver(bytes, 'bytes');
      return;
    }
    if (this.hasLeft) this.close(); // the rest never comes
    this.pending = this.own(bytes);
    this.deadline = this.sinceTick + this.front.ticks.head;
  }

  private begin(head: RequestHead, bytes: Buffer, bodyAt: number, length: number): void {
    this.pending = nothing;
    const { front } = this;
    if (length > front.limits.bodyBytesMax) {
      this.refuse((exchange) => {
        front.refuseLarge(exchange);
      });
      return;
    }
    if (bytes.length - bodyAt >= length) {
      const bodyEnd = bodyAt + length;
      if (bytes.length > bodyEnd) this.keep(this.own(bytes.subarray(bodyEnd)));
      this.serve(head, length === 0 ? null : this.own(bytes.subarray(bodyAt, bodyEnd)));
      return;
    }
    if (this.hasLeft) {
      this.close();
      return;
    }
    this.share.isStranger = front.isStranger(new LeanExchange(this, head, null));
    this.state = states.body;
    this.deadline = this.sinceTick + front.ticks.request;
    this.body = new BodyReader(length);
    this.readBody(bytes.subarray(bodyAt));
  }

  private readBody(chunk: Buffer): void {
    const { body, front, head } = this;
    if (body === null || head === null) return;
    const more = body.wants(chunk.length);
    if (more > 0 && !this.share.take(more)) {
      this.refuse((exchange) => {
        front.refuseBusy(exchange);
      });
      return;
    }
    const used = body.add(chunk);
    const whole = body.whole();
    if (whole === null) return;
    this.body = null;
    if (used < chunk.length) this.keep(this.own(chunk.subarray(used)));
    this.serve(head, whole);
  }

  private serve(head: RequestHead, body: Buffer | null): void {
    const { front } = this;
    this.state = states.answering;
    this.deadline = 0;
    const exchange = new LeanExchange(this, head, body);
    this.exchange = exchange;
    if (this.hasLeft && this.pending.length === 0) exchange.isLast = true;
    if (body !== null && this.share.bytes === 0 && !this.share.take(body.length)) front.refuseBusy(exchange);
    else front.handle(exchange);
  }

  /** Answers in place of the data path. The rest of the body is not read as a request. */
  private refuse(answer: (exchange: LeanExchange) => void): void {
    const { head } = this;
    if (head === null) return;
    this.body = null;
    this.state = states.answering;
    this.deadline = 0;
    const exchange = new LeanExchange(this, head, null);
    exchange.isLast = true;
    this.exchange = exchange;
    answer(exchange);
  }

  /** Closes our side, and for a moment reads on: unread bytes would make the system reset the connection. */
  private linger(): void {
    this.state = states.lingering;
    this.drop();
    this.deadline = this.front.tick + this.front.ticks.linger;
    if (this.isPaused) this.socket.resume();
    this.socket.end();
  }

  /** Bytes of a read hold for its call alone. */
  private own(bytes: Buffer): Buffer {
    return this.front.reads.isLending ? Buffer.from(bytes) : bytes;
  }

  private keep(bytes: Buffer): void {
    const { exchange, front } = this;
    if (exchange?.isLast === true) return; // what follows a last request is no request
    front.bodies.force(bytes.length - this.pending.length);
    this.pending = bytes;
    if (bytes.length <= pendingBytesMax || this.isPaused) return;
    this.isPaused = true;
    this.socket.pause();
  }

  private handOver(bytes: Buffer, why: Oddity): void {
    const { front, socket } = this;
    front.handedOver[why] += 1;
    this.give(bytes);
    front.handOver(socket);
    if (this.hasLeft) tellEnd(socket, bytes);
  }

  /** Node's own words for a head that took too long. */
  private handOverSlow(): void {
    const { front, socket } = this;
    this.leave();
    this.detach();
    socket.on('error', ignore);
    front.emitTimeout(socket);
  }

  private give(bytes: Buffer): void {
    const { socket } = this;
    this.pending = nothing; // a partial head is not in the budget
    this.leave();
    this.detach();
    socket.pause();
    if (!this.hasLeft) socket.unshift(this.own(bytes));
  }

  private leave(): void {
    if (this.state === states.gone) return;
    this.drop();
    this.state = states.gone;
    this.deadline = 0;
    this.exchange = null;
    this.body = null;
    this.share.release();
    this.front.forget(this);
  }

  /** Forgets bytes that wait. A partial head is not in the budget; what follows a request is. */
  private drop(): void {
    if (this.state !== states.head) this.front.bodies.give(this.pending.length);
    this.pending = nothing;
  }
}
