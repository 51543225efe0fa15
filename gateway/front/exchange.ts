import type { Operation } from '../../domain/routing/operation.ts';
import type { Identity } from '../access/identity.ts';
import type { HeaderFields } from '../header-fields.ts';
import type { ToldHead } from '../told-head.ts';
import type { CommonHeaders } from '../upstream/upstream.ts';
import type { PeerCertificate } from './peer.ts';

/**
 * One request and its response, as the data path sees them. Two fronts are behind it: our own reader of plain
 * requests (lean/) and node:http for all others (node-exchange.ts).
 */
export interface Exchange {
  readonly method: string;
  /** Path without query, as it came. */
  readonly path: string;
  /** With its question mark, or ''. */
  readonly query: string;
  /** Lower-case names; repeated headers are joined as node does. May be shared with other requests: never change it. */
  readonly headers: HeaderFields;
  /** A place for what follows from method, path and headers alone: requests with the same head share it. */
  readonly memo: HeadMemo;
  /** The client's verified certificate. */
  readonly peer: PeerCertificate | null;
  /** It comes from this machine, as far as its connection tells: a proxy here speaks for others. */
  readonly isLocal: boolean;
  /** The body's own bytes; null when there is none. */
  readonly body: Buffer | null;
  /** True once a response head was given. */
  readonly isStarted: boolean;
  /** The response's status, 0 before. */
  readonly status: number;
  /** Bytes of the response's body given so far. */
  readonly bytes: number;
  /** @param headers flat: name, value, name, value */
  start(status: number, headers: string[]): void;
  /** The same with a server's own headers before them, which many answers share. */
  startWith(status: number, told: ToldHead, headers: readonly string[]): void;
  /**
   * The bytes hold for this call alone: whoever sends or keeps them later copies them.
   * @param isFinal nothing follows but `end`: what ends the body may go out with it
   * @returns false when the client takes no more for now: wait for `onDrain`
   */
  write(chunk: Uint8Array | string, isFinal?: boolean): boolean;
  end(): void;
  /** Breaks the connection so that no client can take what it has for the whole. */
  cut(): void;
  /** Once, when the client takes more again. */
  onDrain(listener: () => void): void;
  /** Once, when the response has ended or its connection is gone; `isWhole` when all of it was handed over. */
  onClose(listener: (isWhole: boolean) => void): void;
}

/** Filled in by those who make what it holds; null until then. */
export class HeadMemo {
  /** What method and path ask for. */
  operation: Operation | null = null;
  /** Headers for the server, flat, without the request id: front/headers.ts. */
  forwarded: CommonHeaders | null = null;
  /** The same for streams that are read on their way: without the wish for compression. */
  forwardedPlain: CommonHeaders | null = null;
  /** Who asks, by the head's credential or the connection's certificate: access/access.ts. */
  identity: Identity | null = null;
}

/** Sends a whole answer at once. */
export function answer(
  exchange: Exchange,
  status: number,
  body: string,
  headers: readonly string[] = [],
  type = 'application/json',
): void {
  const bytes = Buffer.from(body);
  exchange.start(status, ['content-type', type, 'content-length', String(bytes.length), ...headers]);
  if (exchange.method !== 'HEAD') exchange.write(bytes);
  exchange.end();
}

/** What of a request tells who sends it. */
export type Sender = Pick<Exchange, 'headers' | 'memo' | 'peer'>;
