/** What a client connection is at. */
export const states = {
  /** Between requests, or within a head. */
  head: 0,
  body: 1,
  answering: 2,
  /** The answer was given; the socket has still to take its last bytes. */
  flushing: 3,
  /** Our side is closed: what the client still sends is read and dropped, so that it can read its answer. */
  lingering: 4,
  /** Closed, or somebody else's. */
  gone: 5,
} as const;
export type State = (typeof states)[keyof typeof states];
