import type { FailureKind } from '../../domain/routing/retry.ts';
import type { HeaderFields } from '../header-fields.ts';
import type { ToldHeads } from '../told-head.ts';

/**
 * A way to send requests to one endpoint: our own client on pooled sockets (socket/), or undici. What is called in
 * what order: `onSent` once the request is on its way onto a connection, `onHead`, `onData` any number of times, then
 * `onEnd`; or `onFailure` at any point, and nothing after. Nothing is called after `abort()`. Of these, `onSent`
 * alone may be called before `send` returns.
 */
export interface Upstream {
  send(request: UpstreamRequest, handler: UpstreamHandler): UpstreamCall;
  /** Ends idle connections; requests in flight go on until done or `destroy`. */
  close(): void;
}

export interface UpstreamRequest {
  readonly method: string;
  readonly path: string;
  /** Flat: name, value, name, value; hop-by-hop headers are gone. */
  readonly headers: readonly string[];
  /** Further ones, sent before `headers`, that many requests share. */
  readonly common?: CommonHeaders;
  readonly body: Uint8Array | null;
  readonly headersMs: number;
  readonly bodyIdleMs: number;
}

/** Headers of many requests: a client that sends the same head again and again has them checked and written once. */
export class CommonHeaders {
  /** Flat, as in a request. */
  readonly list: readonly string[];
  /** Our own client's: the lines that they make; null until they are needed. */
  lines: string | null = null;

  constructor(list: readonly string[]) {
    this.list = list;
  }
}

/** All headers of a request, shared ones first. */
export function allHeaders({ common, headers }: UpstreamRequest): readonly string[] {
  return common === undefined ? headers : [...common.list, ...headers];
}

/** Where the body of an answer goes. */
export interface BodySink {
  /**
   * The bytes are the connection's and hold for this call alone: who keeps them copies them.
   * @param isLast `onEnd` follows at once; until it returns the bytes hold, too. Absent or false: not known
   */
  onData(chunk: Uint8Array, isLast?: boolean): void;
}

export interface UpstreamHandler extends BodySink {
  /** After `onHead`: where it would only pass the body on to, so that a client may give it there at once. */
  readonly sink?: BodySink | null;
  onSent(): void;
  /**
   * @param headers lower-case names; never changed: one object may be given for many equal heads
   * @param told a place for what is made of them, where many share it
   */
  onHead(status: number, headers: HeaderFields, told?: ToldHeads): void;
  onEnd(): void;
  onFailure(failure: UpstreamFailure): void;
}

export interface UpstreamCall {
  abort(): void;
  /** Stops `onData` until `resume`, but for what was read already: backpressure down to the server's socket. */
  pause(): void;
  resume(): void;
}

export interface UpstreamFailure {
  readonly kind: FailureKind;
  /** ECONNREFUSED, HEADERS_TIMEOUT, …: fit for a client's eyes. */
  readonly code: string;
  /** For the log: may hold addresses. */
  readonly message: string;
  /**
   * A reset on a connection that was used before, a moment after the request was sent and without a byte of an answer:
   * most likely its server had closed it while it was idle, and never saw the request.
   */
  readonly isStale?: boolean;
}

export type Connect = (address: string) => Upstream;
