import { valueOf } from '../flat-headers.ts';
import type { Exchange } from '../front/exchange.ts';
import { WrappedExchange } from '../front/wrapped-exchange.ts';

/** An answer as its client got it, streams as the text of their events. */
export interface LoggedAnswer {
  readonly contentType: string;
  readonly contentEncoding: string;
  /** Null: it was larger than may be logged. */
  readonly data: Buffer | null;
}

/** Keeps a copy of an answer that goes well, up to a bound, and hands it over when the answer has ended. */
export class LoggedExchange extends WrappedExchange {
  private readonly bytesMax: number;
  private readonly onAnswer: (answer: LoggedAnswer) => void;
  private contentType = '';
  private contentEncoding = '';
  /** Null: not to be logged. */
  private parts: Buffer[] | null = null;
  private size = 0;

  constructor(inner: Exchange, bytesMax: number, onAnswer: (answer: LoggedAnswer) => void) {
    super(inner);
    this.bytesMax = bytesMax;
    this.onAnswer = onAnswer;
  }

  override start(status: number, headers: string[]): void {
    if (status >= 200 && status < 300) {
      this.parts = [];
      this.contentType = valueOf(headers, 'content-type') ?? '';
      this.contentEncoding = valueOf(headers, 'content-encoding') ?? '';
    }
    super.start(status, headers);
  }

  override write(chunk: Uint8Array | string, isFinal = false): boolean {
    if (this.parts !== null) {
      this.size += typeof chunk === 'string' ? Buffer.byteLength(chunk) : chunk.length;
      // A copy: a slice would keep the whole buffer that it lies in.
      if (this.size <= this.bytesMax) this.parts.push(Buffer.from(chunk as Uint8Array));
      else this.parts.length = 0;
    }
    return super.write(chunk, isFinal);
  }

  override end(): void {
    super.end();
    if (this.parts === null) return;
    const { contentType, contentEncoding, parts } = this;
    this.parts = null;
    this.onAnswer({
      contentType,
      contentEncoding,
      data: this.size > this.bytesMax ? null : Buffer.concat(parts),
    });
  }
}
