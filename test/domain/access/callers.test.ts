import { describe, expect, test } from '@jest/globals';
import type { z } from 'zod';
import { AccessPolicy } from '../../../domain/access/access-policy.schema.ts';
import { callerOfCertificate, callerOfKey, callerOfToken } from '../../../domain/access/callers.ts';

type IssuerInput = NonNullable<z.input<typeof AccessPolicy>['issuers']>[number];

const issuerWith = (more: Partial<IssuerInput>) => {
  const base = { name: 'idp', issuer: 'https://idp.example', audiences: ['muster'] };
  return AccessPolicy.parse({ issuers: [{ ...base, ...more }] }).issuers[0]!;
};
const from = (more: Partial<IssuerInput>, claims: object) =>
  callerOfToken(issuerWith(more), { sub: 'ann', ...claims });

describe('the caller of a token', () => {
  const given: Partial<IssuerInput> = {
    tenant: 'acme',
    tier: 'high',
    namespace: 'lab',
    models: ['lab/*'],
    scopes: ['infer'],
  };

  test.each<[string, Partial<IssuerInput>, object, object]>([
    ['is what the issuer gives', given, {}, { id: 'idp:ann', kind: 'token', ...given }],
    [
      'has its id from another claim',
      { claims: { id: 'email' } },
      { email: 'a@b.example' },
      { id: 'idp:a@b.example' },
    ],
    [
      'has its tenant by a path',
      { claims: { tenant: 'org.id' } },
      { org: { id: 'acme' } },
      { tenant: 'acme' },
    ],
    [
      'has its tenant by a name that holds dots',
      { claims: { tenant: 'https://x.example/org.id' } },
      { 'https://x.example/org.id': 'acme' },
      { tenant: 'acme' },
    ],
    ['has models of a list', { claims: { models: 'm' } }, { m: ['a/b', 'c/*'] }, { models: ['a/b', 'c/*'] }],
    ['has models of a text', { claims: { models: 'm' } }, { m: ' a/b  c/* ' }, { models: ['a/b', 'c/*'] }],
    ['has no models where the claim has none', { claims: { models: 'm' } }, { m: [] }, { models: [] }],
    [
      'has the scopes that we know',
      { claims: { scopes: 'scope' } },
      { scope: 'openid infer muster:admin' },
      { scopes: ['infer', 'admin'] },
    ],
    [
      'has no scopes where it names others',
      { claims: { scopes: 'scope' } },
      { scope: 'openid profile' },
      { scopes: [] },
    ],
    ['has the tier that it names', { claims: { tier: 'tier' } }, { tier: 'critical' }, { tier: 'critical' }],
    [
      'has the best tier of its groups',
      { claims: { tier: 'groups' }, tiers: { gold: 'critical', silver: 'high' }, tier: 'best-effort' },
      { groups: ['staff', 'silver', 'gold'] },
      { tier: 'critical' },
    ],
    [
      "falls back to the issuer's tier",
      { claims: { tier: 'groups' }, tier: 'best-effort' },
      { groups: ['staff'] },
      { tier: 'best-effort' },
    ],
    [
      "falls back to the issuer's tier for a claim of another shape",
      { claims: { tier: 't' } },
      { t: 7 },
      { tier: 'standard' },
    ],
    [
      'has no tier by a word that every object knows',
      { claims: { tier: 't' } },
      { t: 'constructor' },
      { tier: 'standard' },
    ],
    ['has its namespace', { claims: { namespace: 'ns' } }, { ns: 'team' }, { namespace: 'team' }],
  ])('%s', (_what, issuer, claims, expected) => {
    expect(from(issuer, claims)).toMatchObject({ kind: 'caller', caller: expected });
  });

  test.each<[string, Partial<IssuerInput>, object]>([
    ['no subject', {}, { sub: undefined }],
    ['an empty subject', {}, { sub: '' }],
    ['a subject of another type', {}, { sub: 7 }],
    ['a subject with a line break', {}, { sub: 'a\nb' }],
    ['an endless subject', {}, { sub: 'x'.repeat(257) }],
    ['no tenant where there must be one', { claims: { tenant: 'org' } }, {}],
    ['a tenant that is a list', { claims: { tenant: 'org' } }, { org: ['a'] }],
    ['a tenant of the prototype', { claims: { tenant: '__proto__.x' } }, {}],
    ['no models where there must be some', { claims: { models: 'm' } }, {}],
    ['models of another shape', { claims: { models: 'm' } }, { m: [1] }],
    ['models without end', { claims: { models: 'm' } }, { m: Array.from({ length: 300 }, () => 'a/b') }],
    ['no scopes where there must be some', { claims: { scopes: 's' } }, {}],
    ['no namespace where there must be one', { claims: { namespace: 'n' } }, {}],
  ])('%s refuses the token, and names the claim alone', (_what, issuer, claims) => {
    const outcome = from(issuer, claims);
    expect(outcome.kind).toBe('refused');
    expect((outcome as { why: string }).why).not.toMatch(/\n|xxxx/);
  });

  test('is frozen: it is shared by all of its requests', () => {
    const { keys } = AccessPolicy.parse({ keys: [{ id: 'k', sha256: 'a'.repeat(64) }] });
    const caller = callerOfKey(keys[0]!);
    expect(caller).toMatchObject({
      id: 'k',
      kind: 'key',
      tenant: '',
      tier: 'standard',
      scopes: ['infer'],
      models: ['*'],
    });
    expect(Object.isFrozen(caller) && Object.isFrozen(caller.models) && Object.isFrozen(caller.scopes)).toBe(
      true,
    );
  });
});

describe('the caller of a certificate', () => {
  const rules = AccessPolicy.parse({
    certificates: [
      { name: 'print', fingerprint256: 'AB'.repeat(32) },
      { name: 'name', commonName: 'ann', tenant: 'acme' },
      { name: 'uri', san: 'URI:spiffe://a/b' },
    ],
  }).certificates;
  const none = { commonName: '', names: [], fingerprint: 'CD:'.repeat(31) + 'CD' };

  test.each([
    ['its fingerprint, in any spelling', { ...none, fingerprint: 'ab:'.repeat(31) + 'ab' }, 'print'],
    ['its common name', { ...none, commonName: 'ann' }, 'name'],
    ['one of its names', { ...none, names: ['DNS:x', 'URI:spiffe://a/b'] }, 'uri'],
    ['the first rule that fits', { ...none, commonName: 'ann', names: ['URI:spiffe://a/b'] }, 'name'],
  ])('is found by %s', (_what, certificate, id) => {
    expect(callerOfCertificate(rules, certificate)).toMatchObject({ id, kind: 'certificate' });
  });

  test.each([
    ['nothing that a rule names', none],
    ['a common name in other letters', { ...none, commonName: 'Ann' }],
    ['a name that only begins so', { ...none, names: ['URI:spiffe://a/bc'] }],
    ['a name of another kind', { ...none, names: ['DNS:spiffe://a/b'] }],
  ])('is not found by %s', (_what, certificate) => {
    expect(callerOfCertificate(rules, certificate)).toBeNull();
  });

  test('an empty rule is refused: it would name everybody', () => {
    expect(AccessPolicy.safeParse({ certificates: [{ name: 'all' }] }).success).toBe(false);
    expect(AccessPolicy.safeParse({ certificates: [{ name: 'all', commonName: '' }] }).success).toBe(false);
  });
});
