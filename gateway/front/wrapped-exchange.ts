import type { ToldHead } from '../told-head.ts';
import type { Exchange } from './exchange.ts';

/** An exchange around another: the base of those that see or change what a client gets. */
export class WrappedExchange implements Exchange {
  protected readonly inner: Exchange;

  constructor(inner: Exchange) {
    this.inner = inner;
  }

  get method(): string {
    return this.inner.method;
  }
  get path(): string {
    return this.inner.path;
  }
  get query(): string {
    return this.inner.query;
  }
  get headers(): Exchange['headers'] {
    return this.inner.headers;
  }
  get memo(): Exchange['memo'] {
    return this.inner.memo;
  }
  get peer(): Exchange['peer'] {
    return this.inner.peer;
  }
  get isLocal(): boolean {
    return this.inner.isLocal;
  }
  get body(): Buffer | null {
    return this.inner.body;
  }
  get isStarted(): boolean {
    return this.inner.isStarted;
  }
  get status(): number {
    return this.inner.status;
  }
  get bytes(): number {
    return this.inner.bytes;
  }

  start(status: number, headers: string[]): void {
    this.inner.start(status, headers);
  }
  /** Whoever sees heads sees all of it by `start`. */
  startWith(status: number, told: ToldHead, headers: readonly string[]): void {
    this.start(status, [...told.list, ...headers]);
  }
  write(chunk: Uint8Array | string, isFinal = false): boolean {
    return this.inner.write(chunk, isFinal);
  }
  end(): void {
    this.inner.end();
  }
  cut(): void {
    this.inner.cut();
  }
  onDrain(listener: () => void): void {
    this.inner.onDrain(listener);
  }
  onClose(listener: (isWhole: boolean) => void): void {
    this.inner.onClose(listener);
  }
}
