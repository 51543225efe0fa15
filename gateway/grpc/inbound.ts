import type { ServerHttp2Stream } from 'node:http2';
import { status } from '@grpc/grpc-js';
import { isDeflated } from './inflater.ts';
import type { Inflater } from './inflater.ts';
import { MessageFramer } from './message-framer.ts';

/** Who pays for what comes in. */
export interface InboundOwner {
  readonly isOver: boolean;
  /** @returns false when there is no room: the call is over then */
  take(bytes: number): boolean;
  give(bytes: number): void;
  /** What came was looked at, or what waited for a message to be unpacked. @param isAnyWhole a message got whole */
  moved(isAnyWhole: boolean): void;
  fail(code: status, details: string): void;
}

export interface InboundOptions {
  readonly inflater: Inflater;
  /** Largest message, compressed or not. */
  readonly messageBytesMax: number;
}

/** What a message costs beside its bytes, and what a part of one does. */
const messageBytes = 1_024;
const partBytes = 256;

/**
 * Stands between a call's stream and grpc-js, which would keep parts of messages as they come (a byte keeps all that was
 * read with it) and unpack all that is compressed at once. Parts are copied, counted, and handed on; compressed
 * messages are unpacked here, and handed on as if they had never been compressed.
 */
export class Inbound {
  private readonly stream: ServerHttp2Stream;
  private readonly owner: InboundOwner;
  private readonly options: InboundOptions;
  private readonly framer = new MessageFramer();
  private readonly handOn: (bytes: Buffer) => void;
  private readonly handOnEnd: () => void;
  /** What the message costs that is not whole yet; and its parts, if it is compressed. */
  private cost = 0;
  private parts: Buffer[] = [];
  /** Of whole messages that grpc-js has not given out yet. */
  private readonly costs: number[] = [];
  private isInflating = false;
  /** What came while a message was unpacked. */
  private later: Buffer[] = [];
  private hasEnded = false;

  constructor(stream: ServerHttp2Stream, owner: InboundOwner, options: InboundOptions) {
    this.stream = stream;
    this.owner = owner;
    this.options = options;
    this.handOn = takeListener(stream, 'data');
    this.handOnEnd = takeListener(stream, 'end');
    stream.on('end', () => {
      this.hasEnded = true;
      this.goOn();
    });
  }

  /** A message has begun and is not whole. */
  get isInside(): boolean {
    return !this.framer.isWhole;
  }

  /** What the message costs that grpc-js gives out now. */
  nextCost(): number {
    return this.costs.shift() ?? 0;
  }

  add(chunk: Buffer): void {
    if (this.owner.isOver) return;
    this.later.push(chunk);
    if (this.isInflating) this.stream.pause();
    else this.goOn();
  }

  private goOn(): void {
    let isAnyWhole = false;
    while (!this.isInflating && !this.owner.isOver) {
      const chunk = this.later.shift();
      if (chunk === undefined) {
        if (this.hasEnded) this.handOnEnd();
        break;
      }
      const length = this.framer.read(chunk, 0);
      if (length < chunk.length) this.later.unshift(chunk.subarray(length));
      this.onPart(chunk.subarray(0, length));
      isAnyWhole ||= this.framer.isWhole;
    }
    if (this.owner.isOver) this.later = [];
    else this.owner.moved(isAnyWhole);
  }

  private onPart(bytes: Buffer): void {
    const { framer } = this;
    const cost = framer.isWhole ? framer.size + messageBytes : this.cost + bytes.length + partBytes;
    if (!this.charge(this.cost, cost)) return;
    this.cost = framer.isWhole ? 0 : cost;
    const part = framer.isWhole ? bytes : copyOf(bytes);
    if (framer.isCompressed) this.onCompressed(part, cost);
    else {
      if (framer.isWhole) this.costs.push(cost);
      this.handOn(part);
    }
  }

  private onCompressed(part: Buffer, cost: number): void {
    const { framer, parts, owner } = this;
    const { inflater, messageBytesMax } = this.options;
    parts.push(part);
    if (framer.lengthSaid > messageBytesMax) {
      const why = `Received message larger than max (${framer.lengthSaid} vs ${messageBytesMax})`;
      owner.fail(status.RESOURCE_EXHAUSTED, why);
    }
    if (owner.isOver || !framer.isWhole) return;
    const message = Buffer.concat(parts);
    this.parts = [];
    const bytes = message.subarray(5);
    if (!isDeflated(bytes)) {
      this.costs.push(cost);
      this.handOn(message); // grpc-js says what is wrong with it
      return;
    }
    this.isInflating = true;
    this.stream.pause();
    inflater.add({
      bytes,
      isWanted: () => !owner.isOver,
      onDone: (error, inflated) => {
        this.isInflating = false;
        if (!owner.isOver) this.onInflated(error, inflated, cost);
        this.goOn();
      },
    });
  }

  private onInflated(error: Error | null, bytes: Buffer, before: number): void {
    if (error !== null) {
      const { messageBytesMax } = this.options;
      if ('code' in error && error.code === 'ERR_BUFFER_TOO_LARGE') {
        const why = `Received message that decompresses to a size larger than ${messageBytesMax}`;
        this.owner.fail(status.RESOURCE_EXHAUSTED, why);
      } else this.owner.fail(status.INTERNAL, 'Failed to decompress message');
      return;
    }
    const cost = bytes.length + messageBytes;
    if (!this.charge(before, cost)) return;
    this.costs.push(cost);
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(bytes.length, 1);
    this.handOn(prefix);
    if (bytes.length > 0) this.handOn(bytes);
  }

  private charge(before: number, now: number): boolean {
    if (now > before) return this.owner.take(now - before);
    this.owner.give(before - now);
    return true;
  }
}

/** grpc-js is the last that listens; from now on its listener is called here. */
function takeListener(stream: ServerHttp2Stream, event: 'data' | 'end'): (...args: Buffer[]) => void {
  const listener = stream.listeners(event).at(-1) as ((...args: Buffer[]) => void) | undefined;
  if (listener === undefined) throw new Error(`grpc-js does not listen for '${event}'`);
  stream.off(event, listener);
  return (...args) => {
    listener.apply(stream, args);
  };
}

/** With memory of its own. */
function copyOf(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}
