/**
 * One request and its response, as the data path sees them. Fastify's node:http pair is behind it today
 * (node-exchange.ts); a leaner HTTP front can take its place without a change in what it serves.
 */
export interface Exchange {
  readonly method: string;
  /** Path without query, as it came. */
  readonly path: string;
  /** With its question mark, or ''. */
  readonly query: string;
  /** Lower-case names; repeated headers are joined as node does. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
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
  /** @returns false when the client takes no more for now: wait for `onDrain` */
  write(chunk: Uint8Array | string): boolean;
  end(): void;
  /** Breaks the connection so that no client can take what it has for the whole. */
  cut(): void;
  /** Once, when the client takes more again. */
  onDrain(listener: () => void): void;
  /** Once, when the response has ended or its connection is gone; `isWhole` when all of it was handed over. */
  onClose(listener: (isWhole: boolean) => void): void;
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
