import { z } from 'zod';
import { tiers } from '../qos/tier.ts';

/**
 * Who may ask: the section `access` of the gateway policy. Keys are known by the SHA-256 of the whole key and by
 * nothing else, so the table, a gateway's snapshot and a routes file hold no secret. A key created by the control
 * API has 256 random bits: its hash needs no salt and no slow function.
 */
export const scopes = ['infer', 'admin', 'metrics', '*'] as const;
const Scope = z.enum(scopes);
export type Scope = z.infer<typeof Scope>;

export const keysMax = 10_000;
const listMax = 256;

/** `namespace/name`, `namespace/*` or `*`. */
const ModelPattern = z
  .string()
  .max(512)
  .regex(/^(\*|[^/*\s]+\/(\*|[^/*\s]+))$/, 'write namespace/name, namespace/* or *');
const Models = z.array(ModelPattern).max(listMax);

/** Fit for logs, metrics and file names. */
const Name = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'use letters, digits, dots, dashes and underscores');
const Namespace = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'must be the name of a namespace');
const Tenant = z
  .string()
  .max(128)
  .regex(/^[\x21-\x7e]*$/, 'must be printable and hold no blanks');
const Time = z.iso.datetime({ offset: true, error: 'write a time such as 2027-01-31T00:00:00Z' });

/** What a caller may do; the same for keys, tokens and certificates. */
const rights = {
  tenant: Tenant.default(''),
  tier: z.enum(tiers).default('standard'),
  /** Where names are looked for; null: the namespace that is called like the tenant, if there is one, else `default`. */
  namespace: Namespace.nullable().default(null),
  scopes: z.array(Scope).max(scopes.length).default(['infer']),
  models: Models.default(['*']),
};
export const Rights = z.strictObject(rights);
export type Rights = z.infer<typeof Rights>;

export const AccessKey = z.strictObject({
  id: Name,
  /** For people. */
  name: z
    .string()
    .max(253)
    .regex(/^[^\u0000-\u001f\u007f-\u009f]*$/, 'must not hold control characters')
    .default(''),
  sha256: z.string().regex(/^[0-9a-f]{64}$/, 'must be the SHA-256 of the whole key, 64 small hex digits'),
  ...rights,
  expiresAt: Time.nullable().default(null),
  createdAt: Time.nullable().default(null),
});
export type AccessKey = z.infer<typeof AccessKey>;

/** Signatures with a public key alone: `none` and the HS family are not to be had, whatever a token says. */
export const algorithms = [
  ...(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const),
  ...(['ES256', 'ES384', 'ES512', 'EdDSA'] as const),
] as const;

const loopbackHosts = new Set(['localhost', '127.0.0.1', '[::1]']);

/** https, since who can change the answer can sign tokens; http to this machine alone. */
const IssuerUrl = z
  .url()
  .max(2_048)
  .refine(
    (text) => isTrustworthy(text),
    'must be https, without user and password (http is for this machine alone)',
  );

function isTrustworthy(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, username, password } = new URL(text);
  if (username !== '' || password !== '') return false;
  return protocol === 'https:' || (protocol === 'http:' && loopbackHosts.has(hostname));
}

const ClaimName = z.string().min(1).max(256);

const Issuer = z.strictObject({
  /** Stands before the subject in the caller's id. */
  name: Name,
  /** `iss` exactly as tokens have it. */
  issuer: IssuerUrl,
  /** Where its keys are; absent: what its discovery document says, on the issuer's own origin alone. */
  jwksUri: IssuerUrl.optional(),
  /** One of them must be among the token's `aud`. */
  audiences: z.array(z.string().min(1).max(512)).min(1).max(listMax),
  algorithms: z.array(z.enum(algorithms)).min(1).max(algorithms.length).default(['RS256', 'ES256']),
  clockSkewSeconds: z.int().min(0).max(300).default(30),
  /**
   * Claims that say what the caller is: by their name, or by a path with dots. A token that lacks one is refused, since
   * it would else get more than it was given; only a tier that says nothing falls back to the issuer's.
   */
  claims: z
    .strictObject({
      id: ClaimName.default('sub'),
      tenant: ClaimName.optional(),
      tier: ClaimName.optional(),
      namespace: ClaimName.optional(),
      scopes: ClaimName.optional(),
      models: ClaimName.optional(),
    })
    .prefault({}),
  /** Words of the tier's claim (groups, plans) that mean a tier; tiers' own names mean themselves. The best one counts. */
  tiers: z.record(z.string().min(1).max(256), z.enum(tiers)).default({}),
  /** Where no claim says it. */
  ...rights,
});
export type Issuer = z.infer<typeof Issuer>;

/** Client certificates that the TLS front has verified. Any one of the given fields must be the certificate's own. */
const Certificate = z
  .strictObject({
    name: Name,
    /** Common name of the subject. */
    commonName: z.string().min(1).max(256).optional(),
    /** A subject alternative name as OpenSSL writes it: `DNS:a.example`, `URI:spiffe://a/b`, `email:a@b.example`. */
    san: z
      .string()
      .max(2_048)
      .regex(/^(DNS|URI|email|IP Address):\S+$/, 'write DNS:…, URI:…, email:… or IP Address:…')
      .optional(),
    /** SHA-256 of the certificate, hex, with or without colons. */
    fingerprint256: z
      .string()
      .regex(/^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$/, 'must be the SHA-256 of the certificate')
      .optional(),
    ...rights,
  })
  .refine(
    ({ commonName, san, fingerprint256 }) => (commonName ?? san ?? fingerprint256) !== undefined,
    'give a commonName, a san or a fingerprint256',
  );
export type CertificateRule = z.infer<typeof Certificate>;

export const AccessPolicy = z
  .strictObject({
    /** `open`: who brings no key, or one that is not known, is nobody and may use every model. `required`: 401. */
    mode: z.enum(['open', 'required']).default('open'),
    keys: z.array(AccessKey).max(keysMax).default([]),
    issuers: z.array(Issuer).max(16).default([]),
    certificates: z.array(Certificate).max(1_000).default([]),
  })
  .check(({ value, issues }) => {
    const twice = [
      ...repeated(value.keys, 'keys', 'id'),
      ...repeated(value.keys, 'keys', 'sha256'),
      ...repeated(value.issuers, 'issuers', 'issuer'),
      ...repeated(value.issuers, 'issuers', 'name'),
      ...repeated(value.certificates, 'certificates', 'name'),
    ];
    for (const path of twice) {
      issues.push({
        code: 'custom',
        path,
        input: value,
        message: 'it was given before; each must be its own',
      });
    }
  });
export type AccessPolicy = z.infer<typeof AccessPolicy>;

function repeated<K extends string>(
  list: readonly Readonly<Record<K, string>>[],
  section: string,
  field: K,
): (string | number)[][] {
  const seen = new Set<string>();
  const found: (string | number)[][] = [];
  for (const [index, entry] of list.entries()) {
    if (seen.has(entry[field])) found.push([section, index, field]);
    seen.add(entry[field]);
  }
  return found;
}
