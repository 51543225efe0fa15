import type { Exchange } from '../front/exchange.ts';
import { WrappedExchange } from '../front/wrapped-exchange.ts';

/**
 * The exchange of a request for which there is an answer past its time: should no server give a new one (an error of
 * a server, a refusal of the gateway, a broken connection before the head), the old one is given in its place.
 */
export class StaleExchange extends WrappedExchange {
  private readonly give: (exchange: Exchange) => void;
  /** What comes is not for the client. */
  private isReplaced = false;

  /** @param give sends the old answer, to its end */
  constructor(inner: Exchange, give: (exchange: Exchange) => void) {
    super(inner);
    this.give = give;
  }

  override get isStarted(): boolean {
    return this.isReplaced || super.isStarted;
  }

  override start(status: number, headers: string[]): void {
    if (status >= 500) this.isReplaced = true;
    else super.start(status, headers);
  }

  override write(chunk: Uint8Array | string, isFinal = false): boolean {
    return this.isReplaced || super.write(chunk, isFinal);
  }

  override end(): void {
    if (this.isReplaced) this.replace();
    else super.end();
  }

  override cut(): void {
    if (super.isStarted) super.cut();
    else this.replace();
  }

  private replace(): void {
    this.isReplaced = true;
    if (!super.isStarted) this.give(this.inner);
  }
}
