import { onLeft } from '../../domain/resilience/outlier.ts';
import type { Candidate } from '../../domain/routing/pick.ts';
import type { HeaderFields } from '../header-fields.ts';
import type { ToldHeads } from '../told-head.ts';
import type { Endpoint, Endpoints } from '../upstream/endpoints.ts';
import type {
  BodySink,
  UpstreamCall,
  UpstreamFailure,
  UpstreamHandler,
  UpstreamRequest,
} from '../upstream/upstream.ts';

/** Who made a try and decides what its outcome means. */
export interface TryOwner {
  onHead(one: Try, status: number, headers: HeaderFields, told?: ToldHeads): void;
  onEnd(one: Try): void;
  onFailure(one: Try, failure: UpstreamFailure): void;
}

/** An answer that is not wanted is read up to this, so that its connection can serve again; then it is cut. */
const discardedBytesMax = 64 * 1024;

/** One request to one endpoint: counts as its load until it ends, and tells its owner nothing once it was given up. */
export class Try implements UpstreamHandler {
  readonly candidate: Candidate<Endpoint>;
  readonly startedMs: number;
  wasSent = false;
  /** Its owner's, who sets it at the head; what comes before or without one is dropped. */
  sink: BodySink | null = null;
  private readonly owner: TryOwner;
  private readonly endpoints: Endpoints;
  private call: UpstreamCall | null = null;
  private isReleased = false;
  private isDiscarded = false;
  private discardedBytes = 0;

  constructor(owner: TryOwner, endpoints: Endpoints, candidate: Candidate<Endpoint>, startedMs: number) {
    this.owner = owner;
    this.endpoints = endpoints;
    this.candidate = candidate;
    this.startedMs = startedMs;
  }

  send(request: UpstreamRequest): void {
    this.endpoints.begin(this.candidate.load);
    this.call = this.candidate.load.upstream.send(request, this);
    if (this.isDiscarded && this.isReleased) this.call.abort();
  }

  pause(): void {
    this.call?.pause();
  }

  resume(): void {
    this.call?.resume();
  }

  /** Nothing is heard of it from now on. */
  abort(): void {
    this.isDiscarded = true;
    this.sink = null;
    this.call?.abort();
    this.release();
  }

  /** Its answer is not wanted, its connection may be. */
  discard(): void {
    this.isDiscarded = true;
    this.sink = null;
    this.release();
  }

  onSent(): void {
    this.wasSent = true;
  }

  onHead(status: number, headers: HeaderFields, told?: ToldHeads): void {
    if (!this.isDiscarded) this.owner.onHead(this, status, headers, told);
  }

  onData(chunk: Uint8Array, isLast = false): void {
    if (this.sink !== null) this.sink.onData(chunk, isLast);
    else if (this.isDiscarded) this.drop(chunk);
  }

  onEnd(): void {
    this.release();
    if (!this.isDiscarded) this.owner.onEnd(this);
  }

  onFailure(failure: UpstreamFailure): void {
    this.release();
    if (!this.isDiscarded) this.owner.onFailure(this, failure);
  }

  private drop(chunk: Uint8Array): void {
    this.discardedBytes += chunk.length;
    if (this.discardedBytes > discardedBytesMax) this.call?.abort();
  }

  private release(): void {
    if (this.isReleased) return;
    this.isReleased = true;
    onLeft(this.candidate.load, this.startedMs);
    this.endpoints.end(this.candidate.load);
  }
}
