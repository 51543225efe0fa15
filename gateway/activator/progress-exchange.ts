import { isEventStream } from '../flat-headers.ts';
import type { Exchange } from '../front/exchange.ts';
import { WrappedExchange } from '../front/wrapped-exchange.ts';

/**
 * A stream that began before its server was there: comment lines, which clients of server-sent events skip, tell
 * what is waited for. The server's head then has nothing left to say; an answer that is no stream (an error, whose
 * status can no longer be told) becomes an event.
 */
export class ProgressExchange extends WrappedExchange {
  private realStatus = 0;
  private parts: Buffer[] | null = null;

  constructor(inner: Exchange, requestId: string) {
    super(inner);
    inner.start(200, [
      'content-type',
      'text/event-stream',
      'cache-control',
      'no-cache',
      'x-request-id',
      requestId,
    ]);
  }

  override get isStarted(): boolean {
    return this.realStatus !== 0;
  }

  override get status(): number {
    return this.realStatus === 0 ? this.inner.status : this.realStatus;
  }

  /** @param text without line ends */
  comment(text: string): void {
    if (this.realStatus === 0) this.inner.write(`: ${text}\n\n`);
  }

  override start(status: number, headers: string[]): void {
    this.realStatus = status;
    if (!isEventStream(headers)) this.parts = [];
  }

  override write(chunk: Uint8Array | string): boolean {
    if (this.parts === null) return this.inner.write(chunk);
    this.parts.push(Buffer.from(chunk as Uint8Array));
    return true;
  }

  override end(): void {
    const { parts } = this;
    if (parts !== null) {
      const lines = Buffer.concat(parts)
        .toString()
        .split(/\r\n|\r|\n/);
      this.inner.write(`${lines.map((line) => `data: ${line}`).join('\n')}\n\n`);
    }
    this.inner.end();
  }
}
