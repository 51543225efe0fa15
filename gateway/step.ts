import type { ApiProtocol } from '../domain/routing/operation.ts';
import type { Refusal } from './errors.ts';
import type { Exchange } from './front/exchange.ts';
import type { HeaderFields } from './header-fields.ts';
import type { Passage } from './passage.ts';

/**
 * One step of a request's way, before its server is asked: keys, budgets, cache, queue. Steps run in one fixed order
 * (app.ts) and mostly without waiting, so `enter` answers with a boolean: nothing is allocated and no promise made
 * for a request that only passes through. Its own state of a request lies in a field of the passage.
 */
export interface Step {
  /** For logs and for reading the order. */
  readonly name: string;
  /**
   * @returns true: go on at once. false: the step has answered (`flow.refuse`, or through `passage.exchange`), or
   * will call `flow.proceed(passage)` later, once.
   */
  enter(passage: Passage, flow: Flow): boolean;
  /**
   * Once, when the response has ended or its connection is gone, for each step that was entered, last one first.
   * A step that holds the request (a queue) learns by this that the client left.
   */
  settle?(passage: Passage, isWhole: boolean): void;
}

/** What a step may do with a request that it holds. */
export interface Flow {
  /** The steps after this one, then the server. Does nothing for a request whose client has left. */
  proceed(passage: Passage): void;
  /** Answers with an error body in the request's protocol, or in another that shares its path. */
  refuse(passage: Passage, refusal: Refusal, protocol?: ApiProtocol): void;
  /**
   * A request of the gateway's own in place of `from` and others like it: same service, caller and name. Given to
   * `proceed`, it takes the steps that come after the one in which `from` is. It is no request in metrics and log.
   */
  fork(from: Passage, exchange: Exchange): Passage;
  /** An error of ours: logged, and 500 or a cut. */
  failed(passage: Passage, error: unknown): void;
}

/**
 * Sees the server's answer pass, after retries and before it is rewritten for the client: usage is counted and
 * caches are filled here. Called between `start` and `end` of the forwarding, never for refusals.
 */
export interface ResponseTap {
  onHead(status: number, headers: HeaderFields): void;
  /** The bytes may be reused by the connection after the call: copy what must last. */
  onData(chunk: Uint8Array): void;
  /** @param isWhole false when the server or the client was lost on the way */
  onEnd(isWhole: boolean): void;
}
