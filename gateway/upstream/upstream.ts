import type { FailureKind } from '../../domain/routing/retry.ts';

/**
 * A way to send requests to one endpoint. undici is behind it today; pooled raw sockets may come. What is called
 * in what order: `onSent` once the request goes onto a connection, `onHead`, `onData` any number of times, then
 * `onEnd`; or `onFailure` at any point, and nothing after. Nothing is called after `abort()`.
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
  readonly body: Uint8Array | null;
  readonly headersMs: number;
  readonly bodyIdleMs: number;
}

export interface UpstreamHandler {
  onSent(): void;
  onHead(status: number, headers: Readonly<Record<string, string | string[] | undefined>>): void;
  onData(chunk: Uint8Array): void;
  onEnd(): void;
  onFailure(failure: UpstreamFailure): void;
}

export interface UpstreamCall {
  abort(): void;
  /** Stops `onData` until `resume`: backpressure down to the server's socket. */
  pause(): void;
  resume(): void;
}

export interface UpstreamFailure {
  readonly kind: FailureKind;
  /** ECONNREFUSED, UND_ERR_HEADERS_TIMEOUT, …: fit for a client's eyes. */
  readonly code: string;
  /** For the log: may hold addresses. */
  readonly message: string;
}

export type Connect = (address: string) => Upstream;
