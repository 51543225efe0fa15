import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ToldHead } from '../told-head.ts';
import { HeadMemo } from './exchange.ts';
import type { Exchange } from './exchange.ts';
import { isLoopback, peerOf } from './peer.ts';
import type { PeerCertificate } from './peer.ts';
import { unsent } from './lean/unsent.ts';
import { reset } from './reset.ts';

export interface NodeExchangeOptions {
  /** While draining, each response also ends its connection. */
  readonly isDraining: () => boolean;
  /** A client that takes nothing of its response for so long is dropped. */
  readonly stallMs: number;
}

/** An Exchange over node:http, written raw: no stream is piped and no promise is made on the hot path. */
export class NodeExchange implements Exchange {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: IncomingMessage['headers'];
  readonly memo = new HeadMemo();
  readonly body: Buffer | null;
  status = 0;
  bytes = 0;
  private readonly request: IncomingMessage;
  private readonly response: ServerResponse;
  private readonly options: NodeExchangeOptions;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    body: Buffer | null,
    options: NodeExchangeOptions,
  ) {
    const url = originForm(request.url ?? '/');
    const mark = url.indexOf('?');
    this.method = request.method ?? 'GET';
    this.path = mark < 0 ? url : url.slice(0, mark);
    this.query = mark < 0 ? '' : url.slice(mark);
    this.headers = request.headers;
    this.body = body;
    this.request = request;
    this.response = response;
    this.options = options;
  }

  get peer(): PeerCertificate | null {
    return peerOf(this.request.socket);
  }

  get isLocal(): boolean {
    return isLoopback(this.request.socket.remoteAddress);
  }

  get isStarted(): boolean {
    return this.status !== 0;
  }

  startWith(status: number, told: ToldHead, headers: readonly string[]): void {
    this.start(status, [...told.list, ...headers]);
  }

  start(status: number, headers: string[]): void {
    this.status = status;
    if (this.options.isDraining()) headers.push('connection', 'close');
    // node: `date` is added when absent; a flat array keeps repeated headers such as set-cookie apart.
    this.response.writeHead(status, headers);
  }

  write(chunk: Uint8Array | string): boolean {
    this.bytes += typeof chunk === 'string' ? Buffer.byteLength(chunk) : chunk.length;
    return this.response.write(typeof chunk === 'string' ? chunk : Buffer.from(chunk));
  }

  end(): void {
    this.response.end();
    if (!this.response.writableFinished) this.watch();
  }

  /** Its client has not taken all: it may take its time, as long as it takes something. */
  private watch(): void {
    const { socket } = this.request;
    let left = unsent(socket);
    const timer = setInterval(() => {
      const now = unsent(socket);
      if (now === left) reset(socket);
      left = now;
    }, this.options.stallMs).unref();
    this.response.once('close', () => {
      clearInterval(timer);
    });
  }

  cut(): void {
    // The request's socket: a pipelined response has none of its own before its turn.
    reset(this.request.socket);
  }

  onDrain(listener: () => void): void {
    this.response.once('drain', listener);
  }

  onClose(listener: (isWhole: boolean) => void): void {
    this.response.once('close', () => {
      listener(this.response.writableFinished);
    });
  }
}

/** Clients that take a server for a proxy name the whole URL (RFC 9112 section 3.2.2): its path counts. */
function originForm(target: string): string {
  if (target.startsWith('/')) return target;
  const path = /^https?:\/\/[^/?]*(.*)$/i.exec(target)?.[1];
  if (path === undefined) return target;
  return path.startsWith('/') ? path : `/${path}`;
}
