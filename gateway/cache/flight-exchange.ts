import type { Exchange } from '../front/exchange.ts';
import { WrappedExchange } from '../front/wrapped-exchange.ts';

/** Who decides whether an answer goes on without its client. */
export interface FlightOwner {
  /** Others wait for this answer, and it may still be given to them. */
  isWanted(): boolean;
  /** The answer that outlived its client has ended. */
  ended(): void;
}

/**
 * The exchange of a request that others wait for: when its client leaves, the server's answer goes on for them, as
 * if it were still being read, until it ends or nobody wants it any more. A client that reads slowly does not hold
 * the others up either, whether they came before or after its server was held back for it; what it has not taken is
 * bounded, as the answer is, by the size of what may be kept.
 */
export class FlightExchange extends WrappedExchange {
  private readonly owner: FlightOwner;
  private isDetached = false;
  /** Of the answer that goes on without its client; 0 before its head. */
  private ownStatus = 0;
  /** The client left before it had a head. */
  private isUnheard = false;
  /** All of the answer was given, or it was cut. */
  private isOver = false;
  /** The owner knows. */
  private hasEnded = false;
  private readonly closing: ((isWhole: boolean) => void)[] = [];
  private draining: (() => void) | null = null;

  constructor(inner: Exchange, owner: FlightOwner) {
    super(inner);
    this.owner = owner;
  }

  /** The answer goes on without its client. */
  get isOrphan(): boolean {
    return this.isDetached;
  }

  override get isStarted(): boolean {
    return this.isDetached ? this.ownStatus !== 0 : super.isStarted;
  }

  /** The server's, even where its client is gone: what was answered counts, whoever hears it. */
  override get status(): number {
    return this.isDetached ? this.ownStatus : super.status;
  }

  /** Its client left before it was told a status. */
  get isUnheardOf(): boolean {
    return this.isUnheard;
  }

  override start(status: number, headers: string[]): void {
    if (this.isDetached) this.ownStatus = status;
    else super.start(status, headers);
  }

  override write(chunk: Uint8Array | string, isFinal = false): boolean {
    if (this.isDetached) return true;
    return super.write(chunk, isFinal) || this.owner.isWanted();
  }

  override end(): void {
    this.isOver = true;
    if (this.isDetached) this.endOnce();
    else super.end();
  }

  override cut(): void {
    this.isOver = true;
    if (this.isDetached) this.endOnce();
    else super.cut();
  }

  override onDrain(listener: () => void): void {
    this.draining = listener;
    super.onDrain(() => {
      if (this.draining === listener) this.drain();
    });
  }

  override onClose(listener: (isWhole: boolean) => void): void {
    this.closing.push(listener);
    if (this.closing.length > 1) return;
    super.onClose((isWhole) => {
      if (this.outlives()) return;
      for (const each of this.closing) each(isWhole);
    });
  }

  /** Called when another begins to wait for the answer. */
  joined(): void {
    if (this.draining === null) return;
    setImmediate(() => {
      if (this.owner.isWanted()) this.drain(); // a server that was held back for the client goes on
    });
  }

  /** Called when the client is gone. @returns true when the answer goes on without it */
  outlives(): boolean {
    if (this.isDetached) return true;
    if (this.isOver || !this.owner.isWanted()) return false;
    this.ownStatus = super.status;
    this.isUnheard = !super.isStarted;
    this.isDetached = true;
    this.drain(); // a server that was held back for the client goes on
    return true;
  }

  /** Nobody wants the answer any more: its server is told as if the client had left now. */
  abandon(): void {
    if (!this.isDetached || this.hasEnded) return;
    for (const each of this.closing) each(false);
    this.endOnce();
  }

  private endOnce(): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.owner.ended();
  }

  private drain(): void {
    const listener = this.draining;
    this.draining = null;
    listener?.();
  }
}
