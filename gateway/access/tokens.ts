import { decodeJwt, decodeProtectedHeader, errors, jwtVerify } from 'jose';
import type { JWTPayload, JWSHeaderParameters } from 'jose';
import type { Issuer } from '../../domain/access/access-policy.schema.ts';
import { callerOfToken } from '../../domain/access/callers.ts';
import type { AccessLimits } from './access-limits.ts';
import { BoundedMap } from '../bounded-map.ts';
import { identityOf, isGood } from './identity.ts';
import type { Generation, Identity } from './identity.ts';
import { Jwks } from './jwks.ts';
import type { JwksDeps } from './jwks.ts';
import type { Clocks } from './key-ring.ts';

/**
 * Tokens of the issuers that the policy trusts. A token is verified when it is first seen, by the issuer's public key
 * and an algorithm of the policy's list; then it is known by its text until it ends or has to be looked at again.
 */
export type Verdict =
  | { readonly kind: 'good'; readonly identity: Identity }
  /** `isFinal`: nothing that may happen makes it good. */
  | { readonly kind: 'bad'; readonly why: string; readonly isFinal: boolean }
  | { readonly kind: 'unavailable' };

/** What is to be known of the issuers, by their names in the policy. */
export interface IssuerNews {
  fetched(issuer: string, outcome: 'good' | 'failed', why: string): void;
  /** @param key its id, '' where it has none */
  unusable(issuer: string, key: string, why: string): void;
}

interface Trusted {
  readonly text: string;
  readonly issuer: Issuer;
  readonly jwks: Jwks;
}

export class Tokens {
  private readonly limits: AccessLimits;
  private readonly clocks: Clocks;
  private readonly jwksDeps: Omit<JwksDeps, 'onFetch' | 'onUnusable'>;
  private readonly news: IssuerNews;
  private readonly known: BoundedMap<Identity>;
  private trusted = new Map<string, Trusted>();
  private generation: Generation = { isOver: false };
  /** Signatures checked, for the metrics. */
  verified = 0;

  constructor(limits: AccessLimits, clocks: Clocks, fetchJson: JwksDeps['fetchJson'], news: IssuerNews) {
    this.limits = limits;
    this.clocks = clocks;
    this.jwksDeps = { limits, nowMs: clocks.nowMs, fetchJson };
    this.news = news;
    this.known = new BoundedMap(limits.knownTokensMax);
  }

  get isOff(): boolean {
    return this.trusted.size === 0;
  }

  get knownSize(): number {
    return this.known.size;
  }

  /** Milliseconds since each issuer's keys were fetched, by the issuer's name. */
  *ages(): Iterable<[issuer: string, ageMs: number]> {
    for (const { issuer, jwks } of this.trusted.values()) yield [issuer.name, jwks.ageMs];
  }

  /** @returns whether anything is different from before; issuers that are the same keep their keys */
  use(issuers: readonly Issuer[]): boolean {
    const next = new Map<string, Trusted>();
    let isSame = issuers.length === this.trusted.size;
    for (const issuer of issuers) {
      const text = JSON.stringify(issuer);
      const before = this.trusted.get(issuer.issuer);
      if (before?.text !== text) isSame = false;
      next.set(issuer.issuer, before?.text === text ? before : { text, issuer, jwks: this.jwksOf(issuer) });
    }
    if (isSame) return false;
    this.trusted = next;
    this.generation.isOver = true;
    this.generation = { isOver: false };
    this.known.clear();
    return true;
  }

  recall(text: string, nowMs: number): Identity | null {
    const identity = this.known.get(text);
    if (identity === undefined) return null;
    if (isGood(identity, nowMs)) return identity;
    this.known.delete(text);
    return null;
  }

  /** Whether it has the form of a token at all: three parts, the first of which begins an object. */
  static isToken(secret: string): boolean {
    return secret.startsWith('eyJ') && /^[\w-]+\.[\w-]+\.[\w-]*$/.test(secret);
  }

  /** @param text what a good one is to be remembered by */
  async verify(token: string, text: string): Promise<Verdict> {
    const generation = this.generation;
    const read = this.read(token);
    if (read.kind !== 'trusted') return read;
    const { issuer, jwks } = read.trusted;
    const found = await jwks.find(read.header);
    if (found.kind === 'unavailable') return found;
    if (found.kind === 'unknown')
      return bad('Its issuer has no key of the name that the token gives.', false);
    if (found.kind === 'unusable') return unusable;
    this.verified += 1;
    let claims: JWTPayload;
    try {
      const verified = await jwtVerify(token, found.key, {
        issuer: issuer.issuer,
        audience: issuer.audiences,
        algorithms: issuer.algorithms,
        clockTolerance: issuer.clockSkewSeconds,
        requiredClaims: ['exp'],
        currentDate: new Date(this.clocks.now()),
      });
      claims = verified.payload;
    } catch (error) {
      if (error instanceof errors.JOSEError) return whyBad(error);
      // Not of the token's making: its key is too short, say.
      jwks.tellUnusable(read.header, error);
      return unusable;
    }
    const mapped = callerOfToken(issuer, claims);
    if (mapped.kind === 'refused') return bad(mapped.why, true);
    const leftMs = ((claims.exp ?? 0) + issuer.clockSkewSeconds) * 1000 - this.clocks.now();
    const untilMs = this.clocks.nowMs() + Math.min(leftMs, this.limits.recheckMs);
    const identity = identityOf(mapped.caller, generation, untilMs);
    if (!generation.isOver) this.known.set(text, identity);
    return { kind: 'good', identity };
  }

  /** All that can be said before anything is computed or fetched. */
  private read(
    token: string,
  ): Extract<Verdict, { kind: 'bad' }> | { kind: 'trusted'; trusted: Trusted; header: JWSHeaderParameters } {
    let header: JWSHeaderParameters;
    let iss: string | undefined;
    try {
      header = decodeProtectedHeader(token);
      ({ iss } = decodeJwt(token));
    } catch {
      return bad('It is not a token that can be read.', true);
    }
    const trusted = typeof iss === 'string' ? this.trusted.get(iss) : undefined;
    if (trusted === undefined) return bad('Its issuer is not one that this gateway trusts.', true);
    const isAllowed = trusted.issuer.algorithms.some((algorithm) => algorithm === header.alg);
    if (!isAllowed) return bad('It is signed in a way that this gateway does not take.', true);
    return { kind: 'trusted', trusted, header };
  }

  private jwksOf(issuer: Issuer): Jwks {
    const jwks = new Jwks(issuer, {
      ...this.jwksDeps,
      onFetch: (outcome, why) => {
        this.news.fetched(issuer.name, outcome, why);
      },
      onUnusable: (key, why) => {
        this.news.unusable(issuer.name, key, why);
      },
    });
    jwks.warm();
    return jwks;
  }
}

function bad(why: string, isFinal: boolean): Extract<Verdict, { kind: 'bad' }> {
  return { kind: 'bad', why, isFinal };
}

/** Until the issuer mends it. */
const unusable = bad('The key of its issuer cannot be used.', false);

/** Claims by name, never their values: those are the caller's own words. */
function whyBad(error: errors.JOSEError): Verdict {
  if (error instanceof errors.JWTExpired) return bad('It has expired.', true);
  if (error instanceof errors.JWTClaimValidationFailed) {
    const isEarly = error.claim === 'nbf' || error.claim === 'iat';
    return bad(`Its claim '${error.claim}' does not allow this.`, !isEarly);
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) return bad('Its signature is wrong.', true);
  return bad('It is not a token that can be verified.', true);
}
