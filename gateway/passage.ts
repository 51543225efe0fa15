import type { Caller } from '../domain/access/caller.ts';
import type { QueueEntry } from '../domain/qos/fair-queue.ts';
import type { Candidate } from '../domain/routing/pick.ts';
import type { Operation } from '../domain/routing/operation.ts';
import type { PrefixState } from '../domain/routing/prefix/prefix-pick.ts';
import type { RoutedService } from '../domain/routing/routes.ts';
import type { Usage } from '../domain/usage/usage.ts';
import type { Holder } from './activator/sleeper.ts';
import type { Gate } from './admission/gate.ts';
import type { CacheState } from './cache/cache-state.ts';
import type { BudgetAccount } from './budget/budget-account.ts';
import type { Batch } from './batcher/batch.ts';
import type { RefusalCode } from './errors.ts';
import type { ForwardPlan } from './forward/forward-plan.ts';
import type { Exchange } from './front/exchange.ts';
import type { RoutedModel } from './model-route/routed-model.ts';
import type { RateBucket } from './rate-limit/rate-bucket.ts';
import type { ResponseTap } from './step.ts';
import type { Endpoint } from './upstream/endpoints.ts';
import type { Meter } from './usage/meters.ts';
import type { UsageTap } from './usage/usage-tap.ts';

/**
 * What became of one request on its way through the gateway: filled in by each step, read at the end by metrics, the
 * access log and the accounts. A class with all its fields from the start, so that V8 keeps one shape for it.
 */
export class Passage {
  /** A step may put its own around it, to see or change what the client gets. */
  exchange: Exchange;
  readonly requestId: string;
  readonly operation: Operation;
  /** performance.now() at its begin. */
  readonly startedMs: number;
  /** Null until it is known; internal requests bring theirs. */
  caller: Caller | null;
  /** Milliseconds until the response's head; -1 before. */
  firstByteMs = -1;
  /** Steps entered so far. */
  entered = 0;
  /** Steps that were another request's: this one was made on the way (`Flow.fork`). */
  forkedAt = 0;
  /** Waits with others, or is being answered with them: the batcher's own. */
  batch: Batch<Passage> | null = null;
  /** The response has ended or its connection is gone. */
  isClosed = false;
  service: RoutedService<Endpoint> | null = null;
  /** The component of the service that is asked, where it is not its predictor. */
  entry: RoutedService<Endpoint> | null = null;
  /** The request id that its servers are told, where it is not the request's own. */
  upstreamId: string | null = null;
  /** Asked by a component for a request that is under way, and counted there. */
  isPart = false;
  /** Services that may answer in its place, best first. */
  alternatives: readonly RoutedService<Endpoint>[] = none;
  /** The model that several services serve, when it names one: access to it is access to each of them. */
  modelRoute: RoutedModel | null = null;
  /** As the request named it, else the service's name; for people. */
  model = '';
  /** As the request named it; null when it did not. */
  namedModel: string | null = null;
  /** The body may name several, of which a server may take another one. */
  mayNameModelTwice = false;
  /** What later steps and the server see: the client's own bytes, unless they were translated. */
  body: Buffer | null;
  /** An OpenAI body (or one translated to it), parsed, long strings of its content as "..." (`abridge`); else null. */
  fields: Readonly<Record<string, unknown>> | null = null;
  /** What goes to the server; set once the service is found. */
  plan: ForwardPlan | null = null;
  /** Admission's own: where it was admitted or waits, and its place in the queue while it waits. */
  gate: Gate<Passage> | null = null;
  queued: QueueEntry<Passage> | null = null;
  /** Its way through the cache; null while it has none. */
  cache: CacheState | null = null;
  /** Its place among those that wait for a sleeping service. */
  holder: Holder | null = null;
  /** The picker's own: whom it counts as computing how many bytes of this prompt. */
  prefix: PrefixState | null = null;
  prefixBytes = 0;
  /** Sees the server's answer; add one with `tapInto`. */
  tap: ResponseTap | null = null;
  /** Flat; sent with the answer's own headers. Later ones only where the head was held back. */
  responseHeaders: string[] | null = null;
  /** Of the server's answer, once it has said so. */
  usage: Usage | null = null;
  /** The answer did not tell its usage: it is an estimate. */
  isUsageEstimated = false;
  /** By the price table; -1 until it is known. */
  costMicros = -1;
  /** What counting needs to know; null for requests that are not counted. */
  meter: Meter | null = null;
  /** Reads the usage out of the answer. */
  usageTap: UsageTap | null = null;
  /** What the request may use, as far as it says; -1: not estimated. */
  estimatedTokens = -1;
  estimatedMicros = 0;
  /** Budgets and rate limits that it was taken from. */
  budgets: readonly BudgetAccount[] | null = null;
  rates: readonly RateBucket[] | null = null;
  /** Address of the one server that can answer, where a request goes on from what that server keeps. */
  pinned: string | null = null;
  /** Of the last try. */
  candidate: Candidate<Endpoint> | null = null;
  tries = 0;
  /** Why the gateway refused or cut; null when the server answered. */
  refused: RefusalCode | null = null;
  /** The response was broken off after its head. */
  isCut = false;

  constructor(
    exchange: Exchange,
    requestId: string,
    operation: Operation,
    startedMs: number,
    caller: Caller | null,
  ) {
    this.exchange = exchange;
    this.body = exchange.body;
    this.requestId = requestId;
    this.operation = operation;
    this.startedMs = startedMs;
    this.caller = caller;
  }

  /** Whether the answer was asked for as a stream of events. */
  get isStream(): boolean {
    return this.fields?.['stream'] === true;
  }

  addHeader(name: string, value: string): void {
    (this.responseHeaders ??= []).push(name, value);
  }

  tapInto(tap: ResponseTap): void {
    this.tap = this.tap === null ? tap : new TwoTaps(this.tap, tap);
  }
}

const none: readonly RoutedService<Endpoint>[] = Object.freeze([]);

class TwoTaps implements ResponseTap {
  private readonly first: ResponseTap;
  private readonly second: ResponseTap;

  constructor(first: ResponseTap, second: ResponseTap) {
    this.first = first;
    this.second = second;
  }

  onHead(status: number, headers: Parameters<ResponseTap['onHead']>[1]): void {
    this.first.onHead(status, headers);
    this.second.onHead(status, headers);
  }

  onData(chunk: Uint8Array): void {
    this.first.onData(chunk);
    this.second.onData(chunk);
  }

  onEnd(isWhole: boolean): void {
    this.first.onEnd(isWhole);
    this.second.onEnd(isWhole);
  }
}
