import { createLocalJWKSet, errors } from 'jose';
import type { CryptoKey, JSONWebKeySet, JWSHeaderParameters } from 'jose';
import type { Issuer } from '../../domain/access/access-policy.schema.ts';
import type { AccessLimits } from './access-limits.ts';

/**
 * The public keys of one issuer. Fetched when first needed, again in the background when they are no longer fresh, and
 * at once for a key id that they do not have (a rotation), but never more often than the pause allows: made-up key ids
 * cannot make this gateway a burden to the issuer. While the issuer is away the last good keys stay in use.
 */
export interface JwksDeps {
  readonly limits: AccessLimits;
  readonly nowMs: () => number;
  /** @throws when there is no such answer */
  readonly fetchJson: (url: string) => Promise<unknown>;
  readonly onFetch: (outcome: 'good' | 'failed', why: string) => void;
  /** A key that the issuer published and that cannot be used, once for each set of keys. */
  readonly onUnusable: (key: string, why: string) => void;
}

export type FoundKey =
  | { readonly kind: 'key'; readonly key: CryptoKey }
  /** The issuer has no such key. */
  | { readonly kind: 'unknown' }
  /** The issuer has such a key, and it is malformed or of no kind that is known here. */
  | { readonly kind: 'unusable' }
  /** The issuer cannot be asked, and what it said last is too old or was never heard. */
  | { readonly kind: 'unavailable' };

type Lookup = (header: JWSHeaderParameters) => Promise<CryptoKey>;

export class Jwks {
  private readonly issuer: Issuer;
  private readonly deps: JwksDeps;
  private lookup: Lookup | null = null;
  /** When the keys in use were fetched. */
  private goodAtMs = -Infinity;
  /** When the last fetch began. */
  private triedAtMs = -Infinity;
  private fetching: Promise<void> | null = null;
  /** Those of the keys in use that were told to be unusable. */
  private readonly told = new Set<string>();

  constructor(issuer: Issuer, deps: JwksDeps) {
    this.issuer = issuer;
    this.deps = deps;
  }

  /** Milliseconds since the keys were fetched; Infinity: never. */
  get ageMs(): number {
    return this.deps.nowMs() - this.goodAtMs;
  }

  /** Fetches ahead of the first token, so that it does not wait. */
  warm(): void {
    void this.refresh();
  }

  async find(header: JWSHeaderParameters): Promise<FoundKey> {
    const { limits } = this.deps;
    if (this.ageMs > limits.jwksStaleMs) await this.refresh();
    else if (this.ageMs > limits.jwksFreshMs) void this.refresh();
    const first = await this.look(header);
    if (first.kind === 'key' || first.kind === 'unavailable') return first;
    const before = this.goodAtMs;
    await this.refresh();
    return this.goodAtMs === before ? first : await this.look(header);
  }

  private async look(header: JWSHeaderParameters): Promise<FoundKey> {
    if (this.lookup === null || this.ageMs > this.deps.limits.jwksStaleMs) return { kind: 'unavailable' };
    try {
      return { kind: 'key', key: await this.lookup(header) };
    } catch (error) {
      // No key of this id and algorithm, or several without an id to choose by.
      if (isAbsence(error)) return { kind: 'unknown' };
      this.tellUnusable(header, error);
      return { kind: 'unusable' };
    }
  }

  /** Whoever writes the head of a token may name the key: it is told once, however often it is named. */
  tellUnusable({ kid }: JWSHeaderParameters, error: unknown): void {
    const key = typeof kid === 'string' ? kid : '';
    if (this.told.has(key) || this.told.size >= this.deps.limits.jwksKeysMax) return;
    this.told.add(key);
    this.deps.onUnusable(key, error instanceof Error ? error.message : String(error));
  }

  /** One fetch at a time, with a pause after each; all who ask meanwhile wait for the same one. */
  private refresh(): Promise<void> {
    const { nowMs, limits } = this.deps;
    if (this.fetching !== null) return this.fetching;
    if (nowMs() - this.triedAtMs < limits.jwksPauseMs) return Promise.resolve();
    this.triedAtMs = nowMs();
    this.fetching = this.fetch().finally(() => {
      this.fetching = null;
    });
    return this.fetching;
  }

  private async fetch(): Promise<void> {
    const { deps, issuer } = this;
    try {
      const url = issuer.jwksUri ?? (await this.discover());
      const keys = readKeySet(await deps.fetchJson(url), deps.limits.jwksKeysMax);
      this.lookup = createLocalJWKSet(keys);
      this.goodAtMs = deps.nowMs();
      this.told.clear();
      deps.onFetch('good', '');
    } catch (error) {
      deps.onFetch('failed', error instanceof Error ? error.message : String(error));
    }
  }

  /**
   * What the issuer's discovery document says, on the issuer's own origin alone: the document comes from outside, and
   * must not send this gateway to an address of somebody's choice.
   */
  private async discover(): Promise<string> {
    const { issuer } = this.issuer;
    const read = await this.deps.fetchJson(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`);
    const { issuer: named, jwks_uri: uri } = asRecord(read);
    if (named !== issuer) throw new Error('its discovery document names another issuer');
    if (typeof uri !== 'string' || !URL.canParse(uri) || new URL(uri).origin !== new URL(issuer).origin)
      throw new Error('its discovery document names keys on another origin: give jwksUri in the policy');
    return uri;
  }
}

function isAbsence(error: unknown): boolean {
  return error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys;
}

/** @throws when it is no set of public keys, or too large a one */
export function readKeySet(value: unknown, keysMax: number): JSONWebKeySet {
  const { keys } = asRecord(value);
  if (!Array.isArray(keys)) throw new Error('its answer is not a JSON Web Key Set');
  if (keys.length > keysMax) throw new Error(`its answer has more than ${keysMax} keys`);
  // A secret key (`oct`) has no business there; taken for one, its text could sign tokens.
  const usable = keys.map(asRecord).filter(({ kty }) => kty === 'RSA' || kty === 'EC' || kty === 'OKP');
  if (usable.length === 0) throw new Error('its answer has no public key');
  return { keys: usable };
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error('its answer is not an object');
  return value as Readonly<Record<string, unknown>>;
}
