import type { Candidate } from '../domain/routing/pick.ts';
import type { Operation } from '../domain/routing/operation.ts';
import type { RoutedService } from '../domain/routing/routes.ts';
import type { RefusalCode } from './errors.ts';
import type { Exchange } from './front/exchange.ts';
import type { Endpoint } from './upstream/endpoints.ts';

/**
 * What became of one request on its way through the gateway: filled in by each step, read once at the end by
 * metrics and the access log (and, with keys and budgets, by whatever settles an account).
 */
export interface Passage {
  readonly exchange: Exchange;
  readonly requestId: string;
  readonly operation: Operation;
  /** performance.now() at its begin. */
  readonly startedMs: number;
  /** Milliseconds until the response's head; -1 before. */
  firstByteMs: number;
  service: RoutedService<Endpoint> | null;
  /** As the request named it; '' when it did not. */
  model: string;
  /** Of the last try. */
  candidate: Candidate<Endpoint> | null;
  tries: number;
  /** Why the gateway refused or cut; null when the server answered. */
  refused: RefusalCode | null;
  /** The response was broken off after its head. */
  isCut: boolean;
}
