import { hasBytesAt } from '../../same-bytes.ts';
import { ChunkDecoder } from './chunked.ts';
import { parseResponseHead } from './response-head.ts';
import type { ResponseHead } from './response-head.ts';

/**
 * The responses of one connection, from bytes split in any way. Payload is passed on as pieces of the buffer that was
 * read, one a read. A server mostly repeats its head word for word: then the head that was parsed before is given.
 */
export interface ResponseSink {
  /** A final head; informational ones (1xx) are passed over. */
  onHead(head: ResponseHead): void;
  /** The bytes are the reader's: they hold for this call alone or, if it is the last piece, until `onWhole` returns. */
  onBody(bytes: Uint8Array, isLast: boolean): void;
  /** The response is whole. @param hasMore bytes came behind it, which nobody asked for */
  onWhole(hasMore: boolean): void;
  /** What came is not HTTP; nothing is called after it. */
  onGarbage(code: string): void;
}

export interface ResponseBounds {
  readonly headBytesMax: number;
  readonly headersMax: number;
}

/** Shared by the connections of one endpoint. */
export interface HeadMemo {
  /** The head's own bytes, with the empty line. */
  bytes: Buffer;
  head: ResponseHead | null;
}

export class ResponseParser {
  private readonly sink: ResponseSink;
  private readonly bounds: ResponseBounds;
  private readonly memo: HeadMemo;
  private readonly chunks = new ChunkDecoder();
  private state = awaitingNothing;
  private left = 0;
  private carry: Buffer | null = null;
  private isBodiless = false;

  constructor(sink: ResponseSink, bounds: ResponseBounds, memo: HeadMemo) {
    this.sink = sink;
    this.bounds = bounds;
    this.memo = memo;
  }

  /** A request goes out: its response is awaited. @param isHead the answer to HEAD has no body */
  expect(isHead: boolean): void {
    this.state = inHead;
    this.isBodiless = isHead;
    this.carry = null;
  }

  /** @param length bytes of `bytes` that were read; the others are of earlier reads */
  execute(bytes: Buffer, length: number): void {
    if (this.state === inHead && this.carry === null && this.isAsBefore(bytes, length)) return;
    switch (this.state) {
      case inHead:
        this.readHead(bytes.subarray(0, length));
        return;
      case inLength:
        this.readLength(bytes, 0, length);
        return;
      case inChunks:
        this.readChunks(bytes, 0, length);
        return;
      case untilClose:
        if (length > 0) this.sink.onBody(bytes.subarray(0, length), false);
        return;
      default:
        this.garbage('UNEXPECTED_BYTES');
    }
  }

  /** The next byte is the first of a chunk. */
  get isBetweenChunks(): boolean {
    return this.state === inChunks && this.chunks.isBetween;
  }

  /** The server has closed its side. @returns false when it did so in the middle of a response */
  finish(): boolean {
    if (this.state !== untilClose) return this.state === awaitingNothing;
    this.state = awaitingNothing;
    this.sink.onWhole(false);
    return true;
  }

  /** Whether the head is, word for word, the last one of this endpoint: then nothing of it is parsed. */
  private isAsBefore(bytes: Buffer, length: number): boolean {
    const { bytes: known, head } = this.memo;
    if (head === null || length < known.length || !hasBytesAt(bytes, 0, known)) return false;
    this.beginBody(head, bytes, known.length, length);
    return true;
  }

  private readHead(bytes: Buffer): void {
    const all = this.carry === null ? bytes : Buffer.concat([this.carry, bytes]);
    const end = headEnd(all, this.bounds.headBytesMax);
    if (end < 0) {
      const wrong = all.length > this.bounds.headBytesMax ? 'HEAD_TOO_LARGE' : brokenStart(all);
      if (wrong !== '') this.garbage(wrong);
      else if (all.length > 0) this.carry = all === bytes ? Buffer.from(bytes) : all;
      return;
    }
    this.carry = null;
    const head = parseResponseHead(all.toString('latin1', 0, end + 2), this.bounds.headersMax);
    if (typeof head === 'string') {
      this.garbage(head);
      return;
    }
    const rest = end + 4;
    if (head.status < 200) {
      if (head.status === 101) this.garbage('UNASKED_UPGRADE');
      else this.readHead(all.subarray(rest));
      return;
    }
    if (rest <= memoBytesMax) {
      this.memo.bytes = Buffer.from(all.subarray(0, rest));
      this.memo.head = head;
    }
    this.beginBody(head, all, rest, all.length);
  }

  private beginBody(head: ResponseHead, bytes: Buffer, at: number, length: number): void {
    const { status, contentLength, isChunked } = head;
    const isBodiless = this.isBodiless || status === 204 || status === 304;
    this.left = isBodiless ? 0 : contentLength;
    if (isBodiless) this.state = inLength;
    else if (isChunked) this.state = inChunks;
    else this.state = contentLength < 0 ? untilClose : inLength;
    if (isChunked) this.chunks.reset();
    this.sink.onHead(head);
    if (this.state === inLength) this.readLength(bytes, at, length);
    else if (at >= length) return;
    else if (this.state === inChunks) this.readChunks(bytes, at, length);
    else this.sink.onBody(bytes.subarray(at, length), false);
  }

  private readLength(bytes: Buffer, at: number, length: number): void {
    const has = length - at;
    const take = has < this.left ? has : this.left;
    this.left -= take;
    const isWhole = this.left === 0;
    if (isWhole) this.state = awaitingNothing;
    if (take > 0) this.sink.onBody(bytes.subarray(at, at + take), isWhole);
    if (isWhole) this.sink.onWhole(has > take);
  }

  private readChunks(bytes: Buffer, at: number, length: number): void {
    const { chunks } = this;
    const wrong = chunks.decode(bytes, at, length);
    if (chunks.isDone) this.state = awaitingNothing;
    const { from, to, end, isDone } = chunks;
    if (to > from) this.sink.onBody(bytes.subarray(from, to), isDone && wrong === '');
    if (wrong !== '') this.garbage(wrong);
    else if (isDone) this.sink.onWhole(end < length);
  }

  private garbage(code: string): void {
    this.state = awaitingNothing;
    this.carry = null;
    this.sink.onGarbage(code);
  }
}

/** Larger heads are parsed each time. */
const memoBytesMax = 4096;

const awaitingNothing = 0;
const inHead = 1;
const inLength = 2;
const inChunks = 3;
const untilClose = 4;

/** Where the head's last line ends, or -1. Heads are short: the first piece mostly holds the whole. */
function headEnd(bytes: Buffer, headBytesMax: number): number {
  const first = bytes.toString('latin1', 0, Math.min(bytes.length, 1024)).indexOf('\r\n\r\n');
  if (first >= 0 || bytes.length <= 1024) return first;
  return bytes.toString('latin1', 0, Math.min(bytes.length, headBytesMax + 4)).indexOf('\r\n\r\n');
}

/** What can never become a head is refused at once, not when the server falls silent. */
function brokenStart(bytes: Buffer): string {
  const start = bytes.toString('latin1', 0, Math.min(bytes.length, version.length));
  if (!version.startsWith(start)) return 'NOT_HTTP';
  for (let at = bytes.indexOf(lf); at >= 0; at = bytes.indexOf(lf, at + 1))
    if (bytes[at - 1] !== cr) return 'BAD_HEAD';
  return '';
}

const version = 'HTTP/1.';
const cr = 0x0d;
const lf = 0x0a;
