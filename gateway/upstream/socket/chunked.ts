/**
 * Takes `transfer-encoding: chunked` apart, wherever the bytes are split. Payload is moved together inside the buffer
 * that was read, so that many small chunks of one read are handed on as one piece, at a price of nanoseconds each;
 * a single chunk is not moved at all. Extensions and trailers are passed over, within bounds.
 */
export class ChunkDecoder {
  /** Of the payload that the last call found: [from, to) of its buffer. */
  from = 0;
  to = 0;
  /** Behind the last byte that belongs to the body; the buffer's end while it goes on. */
  end = 0;
  isDone = false;
  private state = atSize;
  private left = 0;
  private digits = 0;
  private lineBytes = 0;

  reset(): void {
    this.state = atSize;
    this.left = 0;
    this.digits = 0;
    this.lineBytes = 0;
    this.isDone = false;
  }

  /** @returns '' or the code of what is wrong; payload found before it is in [from, to) */
  decode(buffer: Uint8Array, start: number, length: number): string {
    this.from = start;
    this.to = start;
    this.end = length;
    let at = start;
    while (at < length) {
      if (this.state === inData) {
        const take = Math.min(this.left, length - at);
        this.keep(buffer, at, at + take);
        at += take;
        this.left -= take;
        if (this.left === 0) this.state = dataCr;
        continue;
      }
      const wrong = this.advance(buffer[at] ?? 0);
      if (wrong !== '') return wrong;
      at += 1;
      if (this.isDone) {
        this.end = at;
        return '';
      }
    }
    return '';
  }

  /** The next byte is the first of a chunk. */
  get isBetween(): boolean {
    return this.state === atSize && this.digits === 0 && !this.isDone;
  }

  private keep(buffer: Uint8Array, at: number, end: number): void {
    if (this.to === this.from) {
      this.from = at;
      this.to = end;
      return;
    }
    buffer.copyWithin(this.to, at, end);
    this.to += end - at;
  }

  /** One byte of framing. */
  private advance(byte: number): string {
    switch (this.state) {
      case atSize:
        return this.size(byte);
      case inExtension:
        this.lineBytes += 1;
        if (this.lineBytes > extensionBytesMax) return 'CHUNK_LINE_TOO_LONG';
        if (byte === cr) this.state = sizeLf;
        return byte === cr || isText(byte) ? '' : 'BAD_CHUNK';
      case sizeLf:
        if (byte !== lf) return 'BAD_CHUNK';
        this.lineBytes = 0;
        this.digits = 0;
        this.state = this.left === 0 ? trailerStart : inData;
        return '';
      case dataCr:
        this.state = dataLf;
        return byte === cr ? '' : 'BAD_CHUNK';
      case dataLf:
        this.state = atSize;
        return byte === lf ? '' : 'BAD_CHUNK';
      default:
        return this.trailer(byte);
    }
  }

  private size(byte: number): string {
    const digit = hexDigit(byte);
    if (digit >= 0) {
      this.digits += 1;
      this.left = this.left * 16 + digit;
      return this.digits > digitsMax ? 'BAD_CHUNK' : '';
    }
    if (this.digits === 0) return 'BAD_CHUNK';
    if (byte === cr) this.state = sizeLf;
    else if (byte === semicolon || byte === space || byte === tab) this.state = inExtension;
    else return 'BAD_CHUNK';
    return '';
  }

  private trailer(byte: number): string {
    this.lineBytes += 1;
    if (this.lineBytes > trailerBytesMax) return 'TRAILERS_TOO_LARGE';
    if (this.state === trailerLf || this.state === lastLf) {
      if (byte !== lf) return 'BAD_CHUNK';
      this.isDone = this.state === lastLf;
      this.state = trailerStart;
      return '';
    }
    if (byte === cr) this.state = this.state === trailerStart ? lastLf : trailerLf;
    else if (isText(byte)) this.state = inTrailer;
    else return 'BAD_CHUNK';
    return '';
  }
}

/**
 * A server that writes each token by itself mostly sends one plain chunk a read: then no decoder need be asked, and no
 * memory of the connection's touched, which costs more than the looking.
 * @param buffer what was read where a chunk was to begin
 * @returns where the payload of the one chunk begins that fills it, but for its line end; 0: it is something else
 */
export function soleChunkFrom(buffer: Uint8Array, length: number): number {
  let at = 0;
  let size = 0;
  for (let digit = hexDigit(buffer[0] ?? 0); digit >= 0 && at < soleDigitsMax;) {
    size = size * 16 + digit;
    at += 1;
    digit = hexDigit(buffer[at] ?? 0);
  }
  const from = at + 2;
  const end = from + size;
  if (size === 0 || end + 2 !== length) return 0;
  const isFramed = buffer[at] === cr && buffer[at + 1] === lf && buffer[end] === cr && buffer[end + 1] === lf;
  return isFramed ? from : 0;
}

const atSize = 0;
const inExtension = 1;
const sizeLf = 2;
const inData = 3;
const dataCr = 4;
const dataLf = 5;
const trailerStart = 6;
const inTrailer = 7;
const trailerLf = 8;
const lastLf = 9;

const cr = 0x0d;
const lf = 0x0a;
const semicolon = 0x3b;
const space = 0x20;
const tab = 0x09;

/** 2^48 bytes a chunk; and no number grows past what a double holds. */
const digitsMax = 12;
/** More than a read holds. */
const soleDigitsMax = 6;
const extensionBytesMax = 4096;
const trailerBytesMax = 16 * 1024;

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

function isText(byte: number): boolean {
  return byte === tab || (byte >= space && byte !== 0x7f);
}
