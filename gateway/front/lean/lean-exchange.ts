import type { ToldHead, WrittenHead } from '../../told-head.ts';
import type { Exchange, HeadMemo } from '../exchange.ts';
import type { PeerCertificate } from '../peer.ts';
import { chunkEnd, chunkStart, lastChunk } from './chunk-framing.ts';
import type { RequestHead } from './head.ts';
import { furtherHead, responseHead, sharedHead } from './response-head.ts';

/** What an exchange needs of its connection. */
export interface Wire {
  readonly peer: PeerCertificate | null;
  readonly isLocal: boolean;
  /** Sends text of characters up to U+00FF. @returns false when the socket takes no more for now */
  send(text: string): boolean;
  /** The same with bytes between, which hold for this call alone; with as few system calls as there can be. */
  sendAll(head: string, chunk: Uint8Array, tail: string): boolean;
  /** A chunk of a body whose head is sent. @param isFinal the body ends behind it */
  sendChunk(payload: Uint8Array, isFinal: boolean): boolean;
  /** The line for `date`, and those for `connection`; asked for once a response. */
  dateLine(): string;
  keepLines(isLast: boolean): string;
  /** Resets the connection. */
  reset(): void;
  /** Calls `exchange.flush()` at the end of this turn of the event loop. */
  flushLater(exchange: LeanExchange): void;
  /** A listener's error: one of ours. */
  onFault(error: unknown): void;
  /** The response's last byte was given. */
  answered(): void;
}

/** How the body ends: there is none, by its length, or by an empty chunk. */
const framings = { none: 0, length: 1, chunked: 2 } as const;
type Framing = (typeof framings)[keyof typeof framings];

/**
 * One request that was read here, and its response, written straight to the socket. The head waits for the first
 * bytes of the body, or for the end of the turn, whichever is first: mostly head and body are one write.
 */
export class LeanExchange implements Exchange {
  // First what each piece of a body needs: fields lie in memory in this order.
  bytes = 0;
  private isOver = false;
  private framing: Framing = framings.none;
  /** The empty chunk that ends the body is sent. */
  private isBodyEnded = false;
  /** Waits to be sent; '' once it was. */
  private head = '';
  private readonly wire: Wire;
  /** Bytes that content-length still promises. */
  private left = 0;
  status = 0;
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | null;
  readonly memo: HeadMemo;
  /** The connection is closed after this response. */
  isLast: boolean;
  private drain: (() => void) | null = null;
  private readonly closing: ((isWhole: boolean) => void)[] = [];

  constructor(wire: Wire, head: RequestHead, body: Buffer | null) {
    this.wire = wire;
    this.method = head.method;
    this.path = head.path;
    this.query = head.query;
    this.headers = head.headers;
    this.memo = head.memo;
    this.isLast = head.isLast;
    this.body = body;
  }

  get peer(): PeerCertificate | null {
    return this.wire.peer;
  }

  get isLocal(): boolean {
    return this.wire.isLocal;
  }

  get isStarted(): boolean {
    return this.status !== 0;
  }

  /** All of the response was given, or it was cut. */
  get isEnded(): boolean {
    return this.isOver;
  }

  start(status: number, headers: string[]): void {
    this.begin(responseHead(status, headers));
  }

  startWith(status: number, told: ToldHead, headers: readonly string[]): void {
    this.begin(furtherHead(sharedHead(status, told), headers));
  }

  write(chunk: Uint8Array | string, isFinal = false): boolean {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    this.bytes += bytes.length;
    if (this.isOver || this.framing === framings.none || bytes.length === 0) return true;
    if (this.framing === framings.chunked) return this.writeChunk(bytes, isFinal);
    this.left -= bytes.length;
    if (this.left < 0) {
      this.cut(); // more than was promised would be taken for the next answer
      return true;
    }
    const { head } = this;
    this.head = '';
    return this.wire.sendAll(head === '' ? '' : `${head}\r\n`, bytes, '');
  }

  end(): void {
    if (this.isOver) return;
    if (!this.isStarted || (this.framing === framings.length && this.left > 0)) {
      this.cut(); // less than was promised
      return;
    }
    this.isOver = true;
    if (this.head !== '') this.endWithHead();
    else if (this.framing === framings.chunked && !this.isBodyEnded) this.wire.send(lastChunk);
    this.wire.answered();
  }

  cut(): void {
    this.isOver = true;
    this.wire.reset();
  }

  onDrain(listener: () => void): void {
    const earlier = this.drain;
    this.drain =
      earlier === null
        ? listener
        : () => {
            earlier();
            listener();
          };
  }

  onClose(listener: (isWhole: boolean) => void): void {
    this.closing.push(listener);
  }

  /** Sends a head that no body followed at once: that of a stream. */
  flush(): void {
    const { head } = this;
    if (head === '' || this.isOver) return;
    this.head = '';
    const framing = this.framing === framings.chunked ? chunkedLine : '';
    this.wire.send(`${head}${framing}\r\n`);
  }

  /** The socket takes bytes again. */
  drained(): void {
    const { drain } = this;
    this.drain = null;
    drain?.();
  }

  /** The response has ended or its connection is gone; called once. */
  closed(isWhole: boolean): void {
    this.isOver = true;
    for (const listener of this.closing) {
      try {
        listener(isWhole);
      } catch (error) {
        this.wire.onFault(error); // the connection, and the others of this turn, go on
      }
    }
  }

  private begin({ status, text, contentLength, isLast, hasDate }: WrittenHead): void {
    if (this.isStarted) throw new Error('a response was started twice');
    const { wire } = this;
    this.status = status;
    if (this.isOver) return;
    this.isLast ||= isLast;
    this.head = (hasDate ? text : text + wire.dateLine()) + wire.keepLines(this.isLast);
    if (this.method === 'HEAD' || status === 204 || status === 304) return;
    this.framing = contentLength < 0 ? framings.chunked : framings.length;
    this.left = contentLength;
    wire.flushLater(this);
  }

  private writeChunk(bytes: Uint8Array, isFinal: boolean): boolean {
    if (this.isBodyEnded) {
      this.cut(); // more than was announced would be taken for the next answer
      return true;
    }
    this.isBodyEnded = isFinal;
    const { head } = this;
    if (head === '') return this.wire.sendChunk(bytes, isFinal);
    this.head = '';
    const start = `${head}${chunkedLine}\r\n${chunkStart(bytes.length)}`;
    return this.wire.sendAll(start, bytes, chunkEnd(isFinal));
  }

  private endWithHead(): void {
    const framing = this.framing === framings.chunked ? emptyLine : '';
    this.wire.send(`${this.head}${framing}\r\n`);
    this.head = '';
  }
}

const chunkedLine = 'transfer-encoding: chunked\r\n';
const emptyLine = 'content-length: 0\r\n';
