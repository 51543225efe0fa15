import type { ToldHead } from '../told-head.ts';
import { HeadMemo } from './exchange.ts';
import type { Exchange } from './exchange.ts';
import type { PeerCertificate } from './peer.ts';

/**
 * A request that the gateway makes to itself (an embedding for the semantic cache, a line of a batch, a step of a
 * graph): it takes the whole way of any other request, under its caller's name, without a socket.
 */
export interface InternalRequest {
  readonly method: string;
  /** Without query. */
  readonly path: string;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | null;
  /** Where it speaks for a client of another front (gRPC): that client's own. */
  readonly peer?: PeerCertificate | null;
  readonly isLocal?: boolean;
}

export interface InternalAnswer {
  readonly status: number;
  /** Lower-case names; repeated ones are joined by a comma. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** More came of an answer than its asker takes. */
export class AnswerTooLarge extends Error {
  constructor(bytesMax: number) {
    super(`the answer is larger than ${bytesMax} bytes`);
  }
}

/**
 * @param handle DataPath.handle, with the caller bound
 * @param bytesMax of the answer's body
 * @throws AnswerTooLarge when it is larger than `bytesMax`; other errors when it is cut, or `signal` fires
 */
export function askInternally(
  handle: (exchange: Exchange) => void,
  request: InternalRequest,
  bytesMax: number,
  signal?: AbortSignal,
): Promise<InternalAnswer> {
  return new Promise((resolve, reject) => {
    const exchange = new InternalExchange(request, bytesMax, resolve, reject);
    const abort = () => {
      exchange.fail(signal?.reason instanceof Error ? signal.reason : new Error('aborted'));
    };
    if (signal?.aborted === true) {
      abort();
      return;
    }
    signal?.addEventListener('abort', abort, { once: true });
    exchange.onClose(() => {
      signal?.removeEventListener('abort', abort);
    });
    handle(exchange);
  });
}

class InternalExchange implements Exchange {
  readonly method: string;
  readonly path: string;
  readonly query = '';
  readonly headers: Readonly<Record<string, string>>;
  readonly memo = new HeadMemo();
  readonly peer: PeerCertificate | null;
  readonly isLocal: boolean;
  readonly body: Buffer | null;
  status = 0;
  bytes = 0;
  /** Without Object's own: a header may be called like one of them. */
  private readonly answerHeaders = Object.create(null) as Record<string, string>;
  private readonly parts: Buffer[] = [];
  private readonly closing: ((isWhole: boolean) => void)[] = [];
  private isOver = false;
  private readonly bytesMax: number;
  private readonly resolve: (answer: InternalAnswer) => void;
  private readonly reject: (error: Error) => void;

  constructor(
    request: InternalRequest,
    bytesMax: number,
    resolve: (answer: InternalAnswer) => void,
    reject: (error: Error) => void,
  ) {
    this.peer = request.peer ?? null;
    this.isLocal = request.isLocal ?? true;
    this.method = request.method;
    this.path = request.path;
    this.headers = request.headers;
    this.body = request.body;
    this.bytesMax = bytesMax;
    this.resolve = resolve;
    this.reject = reject;
  }

  get isStarted(): boolean {
    return this.status !== 0;
  }

  startWith(status: number, told: ToldHead, headers: readonly string[]): void {
    this.start(status, [...told.list, ...headers]);
  }

  start(status: number, headers: string[]): void {
    this.status = status;
    for (let at = 0; at + 1 < headers.length; at += 2) {
      const name = (headers[at] ?? '').toLowerCase();
      const value = headers[at + 1] ?? '';
      const known = this.answerHeaders[name];
      this.answerHeaders[name] = known === undefined ? value : `${known}, ${value}`;
    }
  }

  write(chunk: Uint8Array | string): boolean {
    if (this.isOver) return true;
    const part = Buffer.from(chunk as Uint8Array); // a copy
    this.bytes += part.length;
    if (this.bytes > this.bytesMax) this.fail(new AnswerTooLarge(this.bytesMax));
    else this.parts.push(part);
    return true;
  }

  end(): void {
    if (this.isOver) return;
    if (!this.isStarted) {
      this.cut(); // an answer without a head is none
      return;
    }
    this.resolve({ status: this.status, headers: this.answerHeaders, body: Buffer.concat(this.parts) });
    this.close(true);
  }

  cut(): void {
    this.fail(new Error('the answer was cut'));
  }

  fail(error: Error): void {
    if (this.isOver) return;
    this.reject(error);
    this.close(false);
  }

  onDrain(listener: () => void): void {
    setImmediate(listener);
  }

  onClose(listener: (isWhole: boolean) => void): void {
    this.closing.push(listener);
  }

  /** Listeners run after the caller's own work, as with a socket. */
  private close(isWhole: boolean): void {
    this.isOver = true;
    setImmediate(() => {
      for (const listener of this.closing) listener(isWhole);
    });
  }
}
