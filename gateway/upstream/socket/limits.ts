/** Bounds of the connections to servers. Names and meaning are in gateway/limits.ts's manner; the README lists them. */
export interface SocketLimits {
  /** A connection, with TLS, is there within this time; else the try counts as refused. */
  readonly connectMs: number;
  /** Connections to one endpoint at once; more requests wait. */
  readonly connectionsMax: number;
  /** Idle connections kept to one endpoint. */
  readonly idleMax: number;
  /** Requests that wait for a connection to one endpoint, each for `connectMs` at most; more are refused. */
  readonly waitersMax: number;
  /** An idle connection is closed after this time: before common servers do (5 s), so that few requests meet a closing one. */
  readonly idleMs: number;
  readonly responseHeadBytesMax: number;
  readonly responseHeadersMax: number;
}

export const defaultSocketLimits: SocketLimits = {
  connectMs: 1_000,
  connectionsMax: 10_000,
  idleMax: 1_024,
  waitersMax: 1_024,
  idleMs: 4_000,
  responseHeadBytesMax: 64 * 1024,
  responseHeadersMax: 256,
};
