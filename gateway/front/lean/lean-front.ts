import { createServer } from 'node:http';
import type { RequestListener, Server, ServerOptions } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Server as TlsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Refusal } from '../../errors.ts';
import type { GatewayLimits } from '../../limits.ts';
import type { TurnListener, TurnWrites } from '../../turn-writes.ts';
import type { BodyBudget } from '../body-budget.ts';
import type { Exchange } from '../exchange.ts';
import { bodiesFull, tooLarge } from '../read-node-body.ts';
import type { TlsFiles } from '../tls-files.ts';
import { LeanConnection } from './connection.ts';
import { oddities } from './head.ts';
import type { Oddity } from './head.ts';
import type { ConnectionHost, HeldConnection, Ticks } from './host.ts';
import type { LeanExchange } from './lean-exchange.ts';
import { SocketReads } from './socket-reads.ts';

/**
 * The gateway's HTTP front: an ordinary node server in all but its hot path. Connections come to our own reader
 * first; what is not plain goes on to the listener that node's server would have given them at once. So listening,
 * closing, TLS and every odd request are node's, and so are their errors.
 */
export interface LeanFrontDeps {
  readonly limits: GatewayLimits;
  readonly bodies: BodyBudget;
  readonly isDraining: () => boolean;
  /** False: every connection goes to node's parser at once. */
  readonly isLean: boolean;
  /** Never throws. */
  readonly handle: (exchange: Exchange) => void;
  readonly refuse: (exchange: Exchange, refusal: Refusal) => void;
  readonly isStranger: (exchange: Exchange) => boolean;
  readonly onFault: (error: unknown) => void;
  readonly tls: TlsFiles | null;
  readonly writes: TurnWrites;
  /** For tests (socket-reads.ts). */
  readonly isScribbling: boolean;
  /** Called a few times a second. @param lateMs how much later than planned */
  readonly onTick: (lateMs: number) => void;
}

const tickMsMax = 250;
const tickMsMin = 10;

export class LeanFront implements ConnectionHost, TurnListener {
  readonly limits: GatewayLimits;
  readonly bodies: BodyBudget;
  readonly writes: TurnWrites;
  readonly reads: SocketReads;
  readonly ticks: Ticks;
  readonly keepAliveLines: string;
  readonly handedOver = Object.fromEntries(oddities.map((why) => [why, 0])) as Record<Oddity, number>;
  readonly counts = { accepted: 0, timedOut: 0, dropped: 0 };
  tick = 0;
  private readonly deps: LeanFrontDeps;
  private readonly tickMs: number;
  private readonly connections = new Set<HeldConnection>();
  private server: Server | TlsServer | null = null;
  private nodeListener: ((this: unknown, socket: Socket) => void) | null = null;
  private date = '';
  private flushing: LeanExchange[] = [];
  private settling: HeldConnection[] = [];

  constructor(deps: LeanFrontDeps) {
    const { limits } = deps;
    this.deps = deps;
    this.limits = limits;
    this.bodies = deps.bodies;
    this.reads = new SocketReads(deps.isScribbling);
    this.writes = deps.writes;
    deps.writes.listen(this);
    const times = {
      head: limits.headReadMs,
      request: limits.requestReadMs,
      idle: limits.keepAliveMs,
      stall: limits.clientStallMs,
      linger: limits.lingerMs,
      grace: limits.drainGraceMs,
    };
    const least = Math.min(...Object.values(times)) / 4;
    this.tickMs = Math.ceil(Math.min(tickMsMax, Math.max(tickMsMin, least)));
    // One more, since the first tick may come at once: never early, at most two ticks late.
    this.ticks = Object.fromEntries(
      Object.entries(times).map(([name, ms]) => [name, Math.ceil(ms / this.tickMs) + 1]),
    ) as unknown as Ticks;
    this.keepAliveLines = `connection: keep-alive\r\nkeep-alive: timeout=${Math.floor(limits.keepAliveMs / 1000)}\r\n`;
  }

  /** Connections now, those at node's parser not counted. */
  get size(): number {
    return this.connections.size;
  }

  /** For Fastify's `serverFactory`. */
  createServer(nodeHandler: RequestListener): Server {
    const { limits, tls } = this.deps;
    const options: ServerOptions = {
      maxHeaderSize: limits.headerBytesMax,
      noDelay: true,
      keepAliveTimeout: limits.keepAliveMs,
      requestTimeout: limits.requestReadMs,
      headersTimeout: Math.min(limits.headReadMs, limits.requestReadMs),
      connectionsCheckingInterval: Math.min(30_000, this.tickMs * 4),
    };
    const server =
      tls === null ? createServer(options, nodeHandler) : this.tlsServer(tls, options, nodeHandler);
    server.maxConnections = limits.connectionsMax;
    server.on('drop', () => {
      this.counts.dropped += 1;
    });
    if (this.deps.isLean) this.takeOver(server, tls === null ? 'connection' : 'secureConnection');
    server.once('listening', () => {
      this.tickUntilClosed(server);
    });
    return server;
  }

  get isReading(): boolean {
    return this.reads.isLending;
  }

  isClosing(): boolean {
    return this.deps.isDraining() || this.server?.listening !== true;
  }

  dateLine(): string {
    if (this.date === '') this.date = `date: ${new Date().toUTCString()}\r\n`;
    return this.date;
  }

  isStranger(exchange: LeanExchange): boolean {
    return this.deps.isStranger(exchange);
  }

  onFault(error: unknown): void {
    this.deps.onFault(error);
  }

  handle(exchange: LeanExchange): void {
    this.deps.handle(exchange);
  }

  refuseLarge(exchange: LeanExchange): void {
    this.deps.refuse(exchange, tooLarge(this.limits));
  }

  refuseSlow(exchange: LeanExchange): void {
    this.deps.refuse(exchange, { code: 'request_timeout', message: 'The request did not come in time.' });
  }

  refuseBusy(exchange: LeanExchange): void {
    this.deps.refuse(exchange, bodiesFull);
  }

  handOver(socket: Socket): void {
    this.nodeListener?.call(this.server, socket);
    socket.resume();
  }

  emitTimeout(socket: Socket): void {
    const error = Object.assign(new Error('Request timeout'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' });
    this.server?.emit('clientError', error, socket);
  }

  forget(connection: HeldConnection): void {
    this.connections.delete(connection);
  }

  later(exchange: LeanExchange): void {
    this.flushing.push(exchange);
    this.writes.awaitTurn();
  }

  settleLater(connection: HeldConnection): void {
    this.settling.push(connection);
    this.writes.awaitTurn();
  }

  /** Heads without a body yet. */
  beforeWrites(): void {
    const { flushing } = this;
    if (flushing.length === 0) return;
    this.flushing = [];
    for (const exchange of flushing) exchange.flush();
  }

  /** Answers that ended, and are written. */
  afterWrites(): void {
    const { settling } = this;
    if (settling.length === 0) return;
    this.settling = [];
    for (const connection of settling) connection.settle();
  }

  closeIdle(): void {
    for (const connection of this.connections) {
      if (connection.isIdleSince(this.ticks.grace)) connection.close();
    }
  }

  private tlsServer(tls: TlsFiles, options: ServerOptions, nodeHandler: RequestListener): TlsServer {
    const all = { ...options, ...tls.options(), handshakeTimeout: this.limits.headReadMs };
    const server = createTlsServer(all, nodeHandler);
    tls.follow(server);
    return server;
  }

  private closeAll(): void {
    for (const connection of this.connections) connection.close();
  }

  private takeOver(server: Server | TlsServer, event: 'connection' | 'secureConnection'): void {
    const listeners = server.listeners(event);
    this.server = server;
    this.nodeListener = (listeners.at(-1) ?? null) as LeanFront['nodeListener'];
    server.removeListener(event, this.nodeListener as (socket: Socket) => void);
    server.on(event, (socket: Socket) => {
      this.counts.accepted += 1;
      this.connections.add(new LeanConnection(this, socket));
    });
    const closeIdle = server.closeIdleConnections.bind(server);
    const closeAll = server.closeAllConnections.bind(server);
    server.closeIdleConnections = () => {
      closeIdle();
      this.closeIdle();
    };
    server.closeAllConnections = () => {
      closeAll();
      this.closeAll();
    };
  }

  private tickUntilClosed(server: Server | TlsServer): void {
    let plannedMs = performance.now() + this.tickMs;
    const timer = setInterval(() => {
      const nowMs = performance.now();
      this.deps.onTick(nowMs - plannedMs);
      plannedMs = nowMs + this.tickMs;
      this.sweep();
    }, this.tickMs).unref();
    server.once('close', () => {
      clearInterval(timer);
    });
  }

  private sweep(): void {
    this.tick += 1;
    this.date = '';
    for (const connection of this.connections) {
      if (connection.deadline !== 0 && this.tick >= connection.deadline) connection.expire();
    }
    if (this.isClosing()) this.closeIdle();
  }
}
