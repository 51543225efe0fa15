import { tierRank, tiers } from '../qos/tier.ts';
import type { Tier } from '../qos/tier.ts';
import { scopes as knownScopes } from './access-policy.schema.ts';
import type { AccessKey, CertificateRule, Issuer, Rights } from './access-policy.schema.ts';
import type { Caller } from './caller.ts';

/** From what proved who asks (a key's record, a token's claims, a certificate) to the caller that all later steps see. */
export function callerOfKey(key: AccessKey): Caller {
  return caller(key.id, 'key', key);
}

/** What the TLS front says of a client certificate that it has verified. */
export interface PeerCertificate {
  /** Of the subject; '' without one. */
  readonly commonName: string;
  /** Subject alternative names as OpenSSL writes them: `DNS:a.example`, `URI:spiffe://a/b`. */
  readonly names: readonly string[];
  /** SHA-256 of the certificate, hex. */
  readonly fingerprint: string;
}

/** @returns null when no rule names the certificate */
export function callerOfCertificate(
  rules: readonly CertificateRule[],
  certificate: PeerCertificate,
): Caller | null {
  const fingerprint = plainHex(certificate.fingerprint);
  const rule = rules.find(
    ({ commonName, san, fingerprint256 }) =>
      (commonName !== undefined && commonName === certificate.commonName) ||
      (san !== undefined && certificate.names.includes(san)) ||
      (fingerprint256 !== undefined && plainHex(fingerprint256) === fingerprint),
  );
  return rule === undefined ? null : callerOfRule(rule);
}

export function callerOfRule(rule: CertificateRule): Caller {
  return caller(rule.name, 'certificate', rule);
}

export type TokenCaller =
  | { readonly kind: 'caller'; readonly caller: Caller }
  /** `why` is a sentence for the token's owner; it holds names of claims, never their values. */
  | { readonly kind: 'refused'; readonly why: string };

/** @param claims of a token whose signature, issuer, audience and times were checked */
export function callerOfToken(issuer: Issuer, claims: Readonly<Record<string, unknown>>): TokenCaller {
  const { claims: names } = issuer;
  const missing = (name: string): TokenCaller => ({
    kind: 'refused',
    why: `The token's claim '${name}' is missing or not of the form that this gateway reads.`,
  });
  const id = plainWord(claimOf(claims, names.id), 256);
  if (id === null) return missing(names.id);
  const rights: Rights = {
    tenant: issuer.tenant,
    tier: issuer.tier,
    namespace: issuer.namespace,
    scopes: issuer.scopes,
    models: issuer.models,
  };
  if (names.tenant !== undefined) {
    const tenant = plainWord(claimOf(claims, names.tenant), 128);
    if (tenant === null) return missing(names.tenant);
    rights.tenant = tenant;
  }
  if (names.namespace !== undefined) {
    const namespace = plainWord(claimOf(claims, names.namespace), 63);
    if (namespace === null) return missing(names.namespace);
    rights.namespace = namespace;
  }
  if (names.scopes !== undefined) {
    const words = wordsOf(claimOf(claims, names.scopes));
    if (words === null) return missing(names.scopes);
    rights.scopes = knownScopes.filter((scope) => words.includes(scope) || words.includes(`muster:${scope}`));
  }
  if (names.models !== undefined) {
    const words = wordsOf(claimOf(claims, names.models));
    if (words === null) return missing(names.models);
    rights.models = words;
  }
  if (names.tier !== undefined) rights.tier = bestTier(issuer, wordsOf(claimOf(claims, names.tier)) ?? []);
  return { kind: 'caller', caller: caller(`${issuer.name}:${id}`, 'token', rights) };
}

function caller(id: string, kind: Caller['kind'], rights: Rights): Caller {
  return Object.freeze({
    id,
    kind,
    tenant: rights.tenant,
    tier: rights.tier,
    namespace: rights.namespace,
    scopes: Object.freeze([...rights.scopes]),
    models: Object.freeze([...rights.models]),
  });
}

/** By its whole name, which may hold dots (`https://example.com/tenant`), else by a path into objects. */
function claimOf(claims: Readonly<Record<string, unknown>>, name: string): unknown {
  if (Object.hasOwn(claims, name)) return claims[name];
  let at: unknown = claims;
  for (const part of name.split('.')) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, part)) return undefined;
    at = (at as Readonly<Record<string, unknown>>)[part];
  }
  return at;
}

/** A word without blanks and control characters: it goes into logs, maps and other systems' keys. */
function plainWord(value: unknown, lengthMax: number): string | null {
  if (typeof value !== 'string' || value.length > lengthMax) return null;
  return /^[\x21-\x7e]+$/.test(value) ? value : null;
}

const wordsMax = 256;

/** A list of words, or words in one text with blanks between (OAuth's `scope`); null: neither, or too many. */
function wordsOf(value: unknown): string[] | null {
  const list: unknown = typeof value === 'string' ? value.split(' ').filter((word) => word !== '') : value;
  if (!Array.isArray(list) || list.length > wordsMax) return null;
  return list.every((word) => typeof word === 'string') ? list : null;
}

function bestTier(issuer: Issuer, words: readonly string[]): Tier {
  let best: Tier | null = null;
  for (const word of words) {
    const mapped = Object.hasOwn(issuer.tiers, word)
      ? issuer.tiers[word]
      : tiers.find((tier) => tier === word);
    if (mapped !== undefined && (best === null || tierRank(mapped) < tierRank(best))) best = mapped;
  }
  return best ?? issuer.tier;
}

function plainHex(text: string): string {
  return text.replaceAll(':', '').toLowerCase();
}
