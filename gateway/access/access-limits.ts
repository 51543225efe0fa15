/** Every bound of who-may-ask, by name; the README says what happens at each. */
export interface AccessLimits {
  /** Longest credential that is looked at; longer: 401. */
  readonly credentialCharsMax: number;
  /** Bytes of bodies that are held for requests whose key is not known when they begin; more: 503. */
  readonly strangersBytesMax: number;
  /** Spellings of good keys remembered, so that no request of theirs is hashed; more: the oldest is hashed again. */
  readonly knownKeysMax: number;
  /** Verified tokens remembered; more: the oldest is verified again. */
  readonly knownTokensMax: number;
  /** Refused credentials remembered, apart from the good ones; more: the oldest is forgotten. */
  readonly refusedMax: number;
  /** How long a refused credential is taken for refused without another look. */
  readonly refusedMs: number;
  /** A good credential is looked up again after so long, whatever it says of itself. */
  readonly recheckMs: number;
  /** Tokens being verified at once; more: 503 with Retry-After. */
  readonly verificationsMax: number;
  /** Requests that wait for a token of theirs to be verified; more: 503 with Retry-After. */
  readonly waitersMax: number;
  /** An issuer's answer: larger, or with more keys, it is refused whole. */
  readonly jwksBytesMax: number;
  readonly jwksKeysMax: number;
  /** Time for an issuer to answer. */
  readonly jwksFetchMs: number;
  /** Keys older than this are fetched again, in the background. */
  readonly jwksFreshMs: number;
  /** Between two fetches, whatever asks for them: an unknown key id, or a fetch that failed. */
  readonly jwksPauseMs: number;
  /** Keys of an issuer that is away are used for so long, then no token of its own is taken. */
  readonly jwksStaleMs: number;
}

export const defaultAccessLimits: AccessLimits = {
  credentialCharsMax: 8_192,
  strangersBytesMax: 128 * 1024 * 1024,
  knownKeysMax: 20_000,
  knownTokensMax: 10_000,
  refusedMax: 2_000,
  refusedMs: 10_000,
  recheckMs: 60_000,
  verificationsMax: 1_024,
  waitersMax: 4_096,
  jwksBytesMax: 256 * 1024,
  jwksKeysMax: 100,
  jwksFetchMs: 5_000,
  jwksFreshMs: 600_000,
  jwksPauseMs: 10_000,
  jwksStaleMs: 24 * 3_600_000,
};
