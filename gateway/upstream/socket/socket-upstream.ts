import { connect as connectTcp } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { SecureContext } from 'node:tls';
import type { Connect, Upstream, UpstreamCall, UpstreamHandler, UpstreamRequest } from '../upstream.ts';
import { parseAddress } from './address.ts';
import type { EndpointAddress } from './address.ts';
import { SocketCall } from './call.ts';
import { Connection } from './connection.ts';
import { failed } from './failure.ts';
import { defaultSocketLimits } from './limits.ts';
import type { SocketLimits } from './limits.ts';
import { ReadViews } from './read-views.ts';
import { RequestStart } from './request-bytes.ts';
import type { HeadMemo } from './response-parser.ts';
import { SocketStats } from './stats.ts';
import { Timed, TimerWheel } from '../../timer-wheel.ts';
import { TurnWrites } from '../../turn-writes.ts';

/**
 * Our own HTTP/1.1 client on pooled sockets: no stream, no event and no timer a request. The only places it ever
 * connects to are the addresses that it is given, which are the route table's: no header, path or redirect of a
 * request or a response leads elsewhere.
 */
export interface SocketOptions {
  readonly limits?: Partial<SocketLimits>;
  /** For https addresses; asked for each new connection. Default: the system's authorities, no certificate of ours. */
  readonly tls?: () => UpstreamTls;
  readonly stats?: SocketStats;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  /** A handler's own fault after its request was over. Default: thrown, outside of the connection. */
  readonly onFault?: (error: unknown) => void;
  /** Shared with who answers clients; its own when absent. */
  readonly writes?: TurnWrites;
  /** For tests: overwrites each read's bytes once they were handed on, so that whoever kept them is found out. */
  readonly isScribbling?: boolean;
}

export interface UpstreamTls {
  readonly secureContext?: SecureContext;
  /** In place of the address's host, where certificates bear another name. */
  readonly serverName?: string;
}

export function socketUpstreams(options: SocketOptions): Connect {
  const reads = Buffer.allocUnsafeSlow(readBytes);
  const shared: Shared = {
    wheel: new TimerWheel(options.nowMs),
    writes: options.writes ?? new TurnWrites(),
    reads,
    views: new ReadViews(reads),
    stats: options.stats ?? new SocketStats(),
    tls: options.tls ?? (() => plainTls),
    onFault: options.onFault ?? throwLater,
    isScribbling: options.isScribbling === true,
  };
  const limits = { ...defaultSocketLimits, ...options.limits };
  return (address) => new SocketPool(parseAddress(address), limits, shared);
}

/** What all endpoints of a process have in common. */
interface Shared {
  readonly wheel: TimerWheel;
  readonly writes: TurnWrites;
  /** Every plain socket reads into it: what was read is handed on before the next read. */
  readonly reads: Buffer;
  readonly views: ReadViews;
  readonly stats: SocketStats;
  readonly tls: () => UpstreamTls;
  readonly onFault: (error: unknown) => void;
  readonly isScribbling: boolean;
}

/** The connections to one endpoint. Used last, used first: those that are not needed grow old and close. */
export class SocketPool implements Upstream {
  readonly address: EndpointAddress;
  readonly limits: SocketLimits;
  readonly shared: Shared;
  readonly memo: HeadMemo = { bytes: Buffer.alloc(0), head: null };
  readonly start: RequestStart;
  private readonly idle: Connection[] = [];
  /** In order of arrival. */
  private readonly waiters = new Set<Waiter>();
  private connections = 0;
  private isClosing = false;
  private session: { readonly tls: UpstreamTls; readonly ticket: Buffer } | undefined;

  constructor(address: EndpointAddress, limits: SocketLimits, shared: Shared) {
    this.address = address;
    this.start = new RequestStart(address.authority);
    this.limits = limits;
    this.shared = shared;
  }

  send(request: UpstreamRequest, handler: UpstreamHandler): UpstreamCall {
    const call = new SocketCall(request, handler);
    const { stats } = this.shared;
    const idle = this.idle.pop();
    if (idle !== undefined) {
      stats.idle -= 1;
      stats.reused += 1;
      idle.take(call);
    } else if (this.connections < this.limits.connectionsMax) this.connect(call);
    else this.wait(call);
    return call;
  }

  close(): void {
    this.isClosing = true;
    for (const connection of this.idle.splice(0)) {
      this.shared.stats.idle -= 1;
      connection.destroy();
    }
  }

  /** A connection is free: the oldest waiting request gets it. */
  giveBack(connection: Connection): void {
    const call = this.nextWaiter();
    if (call !== null) connection.take(call);
    else if (this.isClosing || this.idle.length >= this.limits.idleMax) connection.destroy();
    else {
      this.idle.push(connection);
      this.shared.stats.idle += 1;
    }
  }

  gone(connection: Connection): void {
    const { stats } = this.shared;
    this.connections -= 1;
    stats.connections -= 1;
    const at = this.idle.lastIndexOf(connection);
    if (at >= 0) {
      this.idle.splice(at, 1);
      stats.idle -= 1;
    }
    const call = this.nextWaiter();
    if (call !== null) this.connect(call);
  }

  private connect(call: SocketCall): void {
    const { stats } = this.shared;
    let socket: Socket;
    const connection = new Connection(this);
    try {
      socket = this.address.isTls ? this.tlsSocket(connection) : this.plainSocket(connection);
    } catch (error) {
      call.failLater(failed('refused', 'CONNECT_FAILED', error instanceof Error ? error.message : ''));
      return;
    }
    this.connections += 1;
    stats.connections += 1;
    connection.begin(socket, call);
  }

  private plainSocket(connection: Connection): Socket {
    const { reads, views, isScribbling } = this.shared;
    const { host, port } = this.address;
    const callback = (length: number): boolean => {
      connection.read(reads, length, views);
      if (isScribbling) reads.fill(0xdb, 0, length);
      return true;
    };
    return connectTcp({ host, port, ...socketOptions, onread: { buffer: reads, callback } });
  }

  /** The server must prove who it is, and we prove who we are where the process has a certificate. */
  private tlsSocket(connection: Connection): Socket {
    const { address, shared } = this;
    const tls = shared.tls();
    const { secureContext, serverName = address.serverName } = tls;
    // A session stands for a server that was verified: under other authorities it is to be verified anew.
    const session = this.session?.tls === tls ? this.session.ticket : undefined;
    const socket = connectTls({
      host: address.host,
      port: address.port,
      ...socketOptions,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
      ALPNProtocols: ['http/1.1'],
      ...(secureContext === undefined ? {} : { secureContext }),
      ...(serverName === '' ? {} : { servername: serverName }),
      ...(session === undefined ? {} : { session }),
    });
    socket.on('session', (ticket: Buffer) => {
      this.session = { tls, ticket };
    });
    socket.on('data', (bytes: Buffer) => {
      connection.read(bytes, bytes.length);
    });
    return socket;
  }

  private wait(call: SocketCall): void {
    const { stats, wheel } = this.shared;
    if (this.waiters.size >= this.limits.waitersMax) {
      stats.refused += 1;
      call.failLater(noneFree);
      return;
    }
    const waiter = new Waiter(call, (left, isLate) => {
      this.waiters.delete(left);
      wheel.remove(left);
      stats.waiting -= 1;
      if (isLate) stats.refused += 1;
    });
    call.waiter = waiter;
    stats.waiting += 1;
    this.waiters.add(waiter);
    wheel.arm(waiter, this.limits.connectMs);
  }

  private nextWaiter(): SocketCall | null {
    for (const waiter of this.waiters) {
      waiter.leave();
      return waiter.call;
    }
    return null;
  }
}

/** A request that waits for a connection, for as long as making one may take. */
class Waiter extends Timed {
  readonly call: SocketCall;
  private readonly onLeave: (waiter: Waiter, isLate: boolean) => void;

  constructor(call: SocketCall, onLeave: (waiter: Waiter, isLate: boolean) => void) {
    super();
    this.call = call;
    this.onLeave = onLeave;
  }

  leave(): void {
    this.call.waiter = null;
    this.onLeave(this, false);
  }

  onTimeout(): void {
    this.call.waiter = null;
    this.onLeave(this, true);
    this.call.handler.onFailure(noneFree);
  }
}

/** TCP keep-alive finds servers that are gone without a word, also under a stream that may be silent for long. */
const socketOptions = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 } as const;
const plainTls: UpstreamTls = {};
const readBytes = 64 * 1024;
const noneFree = failed('refused', 'NO_CONNECTION_FREE', 'every connection to the endpoint is in use');

function throwLater(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}
