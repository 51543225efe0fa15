import type { UpstreamCall, UpstreamFailure, UpstreamHandler, UpstreamRequest } from '../upstream.ts';

/** One request on its way: waiting for a connection, on one, or over. */
export class SocketCall implements UpstreamCall {
  readonly request: UpstreamRequest;
  readonly handler: UpstreamHandler;
  /** Null while waiting, and once it is over. */
  connection: UpstreamCall | null = null;
  /** Not null while it waits for a connection. */
  waiter: { leave(): void } | null = null;
  isSent = false;
  /** The response's head has come. */
  isStarted = false;
  isAborted = false;

  constructor(request: UpstreamRequest, handler: UpstreamHandler) {
    this.request = request;
    this.handler = handler;
  }

  abort(): void {
    this.isAborted = true;
    const { connection, waiter } = this;
    this.connection = null;
    waiter?.leave();
    connection?.abort();
  }

  pause(): void {
    this.connection?.pause();
  }

  resume(): void {
    this.connection?.resume();
  }

  /** Not from within `send`: its caller does not hold this call yet. */
  failLater(failure: UpstreamFailure): void {
    setImmediate(() => {
      if (!this.isAborted) this.handler.onFailure(failure);
    });
  }
}
