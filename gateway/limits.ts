import type { RetryBounds } from '../domain/routing/retry.ts';
import { defaultAccessLimits } from './access/access-limits.ts';
import type { AccessLimits } from './access/access-limits.ts';

/** Every bound of the gateway, by name; the README has a table of what happens at each. */
export interface GatewayLimits extends RetryBounds, AccessLimits {
  /** Largest request body; larger: 413. */
  readonly bodyBytesMax: number;
  /** Bytes of request bodies that all connections hold together; more: 503. */
  readonly bodiesBytesMax: number;
  /** Largest request head; larger: 431. */
  readonly headerBytesMax: number;
  /** Time a client may take to send its request's head; longer: 408. */
  readonly headReadMs: number;
  /** Time a client may take to send its whole request; longer: 408. */
  readonly requestReadMs: number;
  /** Between requests of one connection; longer: it is closed. */
  readonly keepAliveMs: number;
  /** How long a client may go on writing after an answer that ends its connection. */
  readonly lingerMs: number;
  /** While draining, connections are closed once they were idle for so long: a request may be on its way. */
  readonly drainGraceMs: number;
  /** Clients' connections at once; more are closed at once. */
  readonly connectionsMax: number;
  /** Requests being served at once; more: 503 with Retry-After. */
  readonly inFlightMax: number;
  /** A try's connection; longer: it counts as refused. */
  readonly connectMs: number;
  /** From a request sent to its response's head, where the service sets no time; longer: 504. */
  readonly headersMs: number;
  /** Silence inside a response's body; longer: the response is cut. */
  readonly bodyIdleMs: number;
  /** A client that takes no bytes of its response for so long is dropped. */
  readonly clientStallMs: number;
  /** How long an endpoint that refused a connection is left alone while others are ready. */
  readonly skipMs: number;
  /** Largest answer kept whole in memory (load and unload alone); larger: 502. */
  readonly answerBytesMax: number;
  /** Answers up to this size are sent once they are whole, so that their headers can carry usage and cost. */
  readonly heldAnswerBytesMax: number;
  /** Largest whole answer that is translated from one protocol to another; larger: 502. */
  readonly translatedAnswerBytesMax: number;
  /** Endpoints of one service asked at once by load and unload. */
  readonly fanOutMax: number;
  /** Largest message of gRPC, both ways; larger: RESOURCE_EXHAUSTED. */
  readonly grpcMessageBytesMax: number;
  /** Calls of one gRPC connection at once; more wait in the client. */
  readonly grpcCallsPerConnectionMax: number;
  /** Clients' connections to the gRPC port at once; more are closed at once. */
  readonly grpcConnectionsMax: number;
  /** gRPC calls of all connections at once, arriving ones among them, health probes apart; more: RESOURCE_EXHAUSTED. */
  readonly grpcCallsMax: number;
  /** Requests of one ModelStreamInfer that are worked on at once; more are not read yet. */
  readonly grpcStreamWidth: number;
  /** How long SIGTERM waits for requests in flight. */
  readonly drainMs: number;
  /** And then for copies of requests that still wait for their sinks. */
  readonly finishMs: number;
}

export const defaultLimits: GatewayLimits = {
  ...defaultAccessLimits,
  bodyBytesMax: 100 * 1024 * 1024,
  bodiesBytesMax: 1024 ** 3,
  headerBytesMax: 32 * 1024,
  headReadMs: 60_000,
  requestReadMs: 300_000,
  keepAliveMs: 75_000,
  lingerMs: 2_000,
  drainGraceMs: 500,
  connectionsMax: 20_000,
  inFlightMax: 10_000,
  connectMs: 1_000,
  headersMs: 300_000,
  bodyIdleMs: 300_000,
  clientStallMs: 300_000,
  skipMs: 1_000,
  answerBytesMax: 1024 * 1024,
  heldAnswerBytesMax: 64 * 1024,
  translatedAnswerBytesMax: 16 * 1024 * 1024,
  fanOutMax: 16,
  grpcMessageBytesMax: 64 * 1024 * 1024,
  grpcCallsPerConnectionMax: 1_000,
  grpcConnectionsMax: 10_000,
  grpcCallsMax: 20_000,
  grpcStreamWidth: 16,
  drainMs: 30_000,
  finishMs: 3_000,
  triesMax: 10,
  retryWindowMs: 60_000,
};
