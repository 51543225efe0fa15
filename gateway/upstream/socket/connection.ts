import type { Socket } from 'node:net';
import type { BodySink, UpstreamCall, UpstreamFailure } from '../upstream.ts';
import type { SocketCall } from './call.ts';
import { soleChunkFrom } from './chunked.ts';
import { errorCode, failed } from './failure.ts';
import type { EndpointAddress } from './address.ts';
import type { SocketLimits } from './limits.ts';
import type { ReadViews } from './read-views.ts';
import { requestHead } from './request-bytes.ts';
import type { RequestStart } from './request-bytes.ts';
import type { ResponseHead } from './response-head.ts';
import { ResponseParser } from './response-parser.ts';
import type { HeadMemo, ResponseSink } from './response-parser.ts';
import type { SocketStats } from './stats.ts';
import { Timed } from '../../timer-wheel.ts';
import type { TimerWheel } from '../../timer-wheel.ts';
import { sendPieces } from '../../turn-writes.ts';
import type { TurnWrites } from '../../turn-writes.ts';
import { WriteBuffer } from '../../write-buffer.ts';

/**
 * One connection to a server, and at most one request on it. It goes back to its pool only when a response ended
 * exactly where its framing says, the request was taken whole by the kernel, and nobody wishes the connection to
 * end; in all other cases it is destroyed. Time limits, in this order: connect (with TLS), head, silence of the
 * body, idle; one at a time.
 */
export interface ConnectionPool {
  readonly address: EndpointAddress;
  readonly limits: SocketLimits;
  readonly memo: HeadMemo;
  readonly start: RequestStart;
  readonly shared: {
    readonly wheel: TimerWheel;
    readonly writes: TurnWrites;
    readonly stats: SocketStats;
    readonly onFault: (error: unknown) => void;
  };
  /** A response ended well: the connection is free. */
  giveBack(connection: Connection): void;
  /** It is closed, or about to be. */
  gone(connection: Connection): void;
}

export class Connection extends Timed implements ResponseSink, UpstreamCall {
  // First what each read of a stream needs: fields lie in memory in this order, and many streams' memory is cold.
  private call: SocketCall | null = null;
  /** Of the call: a read of a stream asks for no memory but this connection's own and its sink's. */
  private sink: BodySink | null = null;
  private bodyIdleMs = 0;
  /** The parser is between two chunks of a body: told here, so that it need not be asked. */
  private isBetweenChunks = false;
  /** Bytes of a response to the request in hand have come. */
  private isHeard = false;
  private isPaused = false;
  private readonly pool: ConnectionPool;
  private readonly parser: ResponseParser;
  private socket: Socket | null = null;
  /** The connection is made, TLS too. */
  private isOpen = false;
  private isGone = false;
  private isLast = false;
  private keepAliveMs = Infinity;
  /** Requests that went over it before this one. */
  private uses = 0;
  /** The turn in which the request was sent, if it is a small one: what is read in it is no answer (turn-writes.ts). */
  private sentAt = -1;
  private error: Error | null = null;

  constructor(pool: ConnectionPool) {
    super();
    this.pool = pool;
    const { responseHeadBytesMax: headBytesMax, responseHeadersMax: headersMax } = pool.limits;
    this.parser = new ResponseParser(this, { headBytesMax, headersMax }, pool.memo);
  }

  /** @param call goes out once the connection is made */
  begin(socket: Socket, call: SocketCall): void {
    const { pool } = this;
    this.socket = socket;
    this.take(call);
    socket.once(pool.address.isTls ? 'secureConnect' : 'connect', () => {
      this.opened();
    });
    socket.on('error', (error) => {
      this.error ??= error;
    });
    socket.on('end', () => {
      this.ended();
    });
    socket.on('close', () => {
      this.closed();
    });
    pool.shared.wheel.arm(this, pool.limits.connectMs);
  }

  /** Gives it a request: sent in this turn on an open connection, else when it opens. */
  take(call: SocketCall): void {
    this.call = call;
    this.sink = call.handler;
    this.bodyIdleMs = call.request.bodyIdleMs;
    this.isBetweenChunks = false;
    call.connection = this;
    if (this.isOpen) this.send(call);
  }

  /**
   * @param length bytes of `bytes` that were read; they hold for this call alone
   * @param views of `bytes`, where many read into it
   */
  read(bytes: Buffer, length: number, views: ReadViews | null = null): void {
    const { call } = this;
    if (call === null) {
      this.destroy(); // nobody asked: what an idle server says cannot be somebody's answer
      return;
    }
    if (!this.isHeard && this.isJustSent()) {
      this.lost('UNASKED_ANSWER', 'the server spoke unasked'); // nor to a request that has not left yet
      return;
    }
    this.isHeard = true;
    try {
      const from = this.isBetweenChunks ? soleChunkFrom(bytes, length) : 0;
      if (from > 0) {
        const end = length - 2;
        this.onBody(views === null ? bytes.subarray(from, end) : views.of(from, end), false);
      } else {
        this.parser.execute(bytes, length);
        this.isBetweenChunks = this.parser.isBetweenChunks;
      }
    } catch (error) {
      this.faulted(call, error);
    }
  }

  pause(): void {
    if (this.isPaused || this.isGone) return;
    this.isPaused = true;
    this.socket?.pause();
    if (this.isOpen) this.pool.shared.wheel.disarm(this); // the client is slow, not the server
  }

  resume(): void {
    if (!this.isPaused || this.isGone) return;
    this.isPaused = false;
    if (this.call !== null && this.isOpen) this.watch(this.call);
    this.socket?.resume();
  }

  /** The request is given up; so is the connection, since its answer would still come. */
  abort(): void {
    this.call = null;
    this.sink = null;
    this.destroy();
  }

  onTimeout(): void {
    const { call } = this;
    if (!this.isOpen) this.fail(failed('refused', 'CONNECT_TIMEOUT', 'no connection in time'));
    else if (call === null) this.destroy();
    else if (call.isStarted) this.fail(failed('timeout', 'BODY_TIMEOUT', 'the body fell silent'));
    else this.fail(failed('timeout', 'HEADERS_TIMEOUT', 'no head in time'));
  }

  onHead(head: ResponseHead): void {
    const { call } = this;
    if (call === null) return;
    this.isLast = head.isLast;
    this.keepAliveMs = head.keepAliveMs;
    call.isStarted = true;
    this.pool.shared.wheel.arm(this, this.bodyIdleMs);
    const { handler } = call;
    handler.onHead(head.status, head.headers, head.told);
    if (this.call === call) this.sink = handler.sink ?? handler;
  }

  onBody(bytes: Uint8Array, isLast: boolean): void {
    const { sink } = this;
    if (sink === null) return;
    if (!this.isPaused) this.pool.shared.wheel.arm(this, this.bodyIdleMs);
    sink.onData(bytes, isLast);
  }

  onWhole(hasMore: boolean): void {
    const { call } = this;
    if (call === null) return;
    this.release(call);
    this.settle(hasMore);
    call.handler.onEnd();
  }

  onGarbage(code: string): void {
    this.fail(failed('garbage', code, 'the server broke HTTP'));
  }

  /** Out of its pool, and closed. */
  destroy(): void {
    if (this.isGone) return;
    this.isGone = true;
    this.pool.shared.wheel.remove(this);
    this.socket?.destroy();
    this.pool.gone(this);
  }

  private opened(): void {
    const { call, pool } = this;
    if (this.isGone || call === null) return;
    this.isOpen = true;
    pool.shared.stats.opened += 1;
    this.send(call);
  }

  private send(call: SocketCall): void {
    const { request } = call;
    const { shared, start } = this.pool;
    const head = requestHead(request, start);
    if (head === null) {
      this.release(call);
      this.settle(false);
      call.failLater(failed('garbage', 'BAD_REQUEST_HEAD', 'a header or the path is not plain'));
      return;
    }
    this.parser.expect(request.method === 'HEAD');
    this.isHeard = false;
    if (this.isPaused) shared.wheel.disarm(this);
    else this.watch(call);
    call.isSent = true;
    call.handler.onSent();
    this.write(head, request.body);
  }

  /** The server's time for its head, or between two pieces of its body. */
  private watch({ isStarted, request }: SocketCall): void {
    this.pool.shared.wheel.arm(this, isStarted ? request.bodyIdleMs : request.headersMs);
  }

  private write(head: string, bytes: Uint8Array | null): void {
    const { socket, pool } = this;
    if (socket === null) return;
    const body = bytes ?? nothing;
    if (!pool.address.isTls) {
      const { writes } = pool.shared;
      const { smallPieces } = writes;
      writes.sendRequest(socket, head, body);
      this.sentAt = writes.smallPieces === smallPieces ? -1 : writes.turns;
      return;
    }
    const whole = WriteBuffer.own(head, body);
    if (whole === null) sendPieces(socket, head, body, '');
    else socket.write(whole);
  }

  /** Back to the pool, or the end, once a response is whole. */
  private settle(hasMore: boolean): void {
    const { pool, socket } = this;
    this.uses += 1;
    if (socket === null || this.isGone) return;
    const isSpent = hasMore || this.isLast || socket.writableLength > 0;
    const idleMs = Math.min(pool.limits.idleMs, this.keepAliveMs - keepAliveMarginMs);
    if (isSpent || idleMs <= 0) {
      this.destroy();
      return;
    }
    if (this.isPaused) {
      this.isPaused = false;
      socket.resume();
    }
    pool.shared.wheel.arm(this, idleMs);
    pool.giveBack(this);
  }

  /** The request was sent in this turn: whatever its server has said or done by now was before it. */
  private isJustSent(): boolean {
    return this.sentAt === this.pool.shared.writes.turns;
  }

  private release(call: SocketCall): void {
    this.call = null;
    this.sink = null;
    call.connection = null;
  }

  private fail(failure: UpstreamFailure): void {
    const { call } = this;
    if (call !== null) this.release(call);
    this.destroy();
    call?.handler.onFailure(failure);
  }

  private ended(): void {
    const { call } = this;
    this.isLast = true;
    try {
      if (call === null || !this.parser.finish())
        this.lost('UPSTREAM_CLOSED', 'the server closed the connection');
    } catch (error) {
      this.faulted(call, error);
    }
    this.destroy();
  }

  private closed(): void {
    const { error } = this;
    if (error === null) this.lost('UPSTREAM_CLOSED', 'the connection was closed');
    else this.lost(errorCode(error), error.message);
    this.destroy();
  }

  private lost(code: string, message: string): void {
    if (this.call === null) return;
    if (!this.call.isSent) {
      this.fail(failed('refused', code, message));
      return;
    }
    const isStale = this.uses > 0 && !this.isHeard && (this.isJustSent() || this.isFresh(this.call));
    if (isStale) this.pool.shared.stats.stale += 1;
    this.fail({ kind: 'reset', code, message, isStale });
  }

  /** Whether a request without an answer was sent a moment ago. By its time limit, so that no request reads a clock for it. */
  private isFresh({ request }: SocketCall): boolean {
    return request.headersMs - this.pool.shared.wheel.leftMs(this) < staleMs;
  }

  /** A handler's own fault ends its request, not the process, and not a request that came after it. */
  private faulted(call: SocketCall | null, error: unknown): void {
    if (call === null || call !== this.call) this.pool.shared.onFault(error);
    else this.fail(failed('reset', 'HANDLER_FAILED', error instanceof Error ? error.message : String(error)));
  }
}

/** A server counts from when it sent, we from when we read: one second less is safe on any network in one place. */
const keepAliveMarginMs = 1_000;
/** A server that had closed its connection says so within a round trip; what is lost later it may have worked on. */
const staleMs = 500;
const nothing = new Uint8Array(0);
