import { createHmac, generateKeyPairSync } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { exportSPKI } from 'jose';
import type { JWK } from 'jose';
import { makeSigningKey, sign, startIssuer } from '../../fixtures/access/issuer.ts';
import type { SigningKey, TestIssuer } from '../../fixtures/access/issuer.ts';
import { newKey } from '../../fixtures/access/keys.ts';
import { TokenSite } from '../../fixtures/access/token-site.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get, postJson } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

let site: TokenSite;
let issuer: TestIssuer;
let key: SigningKey;
beforeEach(async () => {
  site = await TokenSite.start({ jwksPauseMs: 0, jwksFetchMs: 400 });
  ({ issuer, key } = site);
});
afterEach(() => site.close());

const ask = (token: string, model?: string) => site.ask(token, model);
const verified = () => site.metric('muster_gateway_access_first_sights_total{kind="token"}');
const jwk = { format: 'jwk' } as const;
const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

describe('a token of a trusted issuer', () => {
  test('is verified once, then known, and stays here', async () => {
    site.trust();
    const token = await sign(key, issuer.url);
    for (let time = 0; time < 4; time += 1) expect((await ask(token)).status).toBe(200);
    const answers = await Promise.all(
      Array.from({ length: 30 }, async () => await ask(await sign(key, issuer.url))),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    expect(await site.metric('muster_gateway_access_known_tokens')).toBeGreaterThanOrEqual(2);
    expect(JSON.stringify(site.backend.seen.map(({ headers }) => headers))).not.toContain('eyJ');
    expect(JSON.stringify(site.gateway.logs)).not.toContain('eyJ');
    expect(site.gateway.logs).toContainEqual(expect.objectContaining({ caller: 'idp:ann', status: 200 }));
  });

  test('that comes many times at once is verified once', async () => {
    site.trust();
    const token = await sign(key, issuer.url);
    const answers = await Promise.all(Array.from({ length: 40 }, () => ask(token)));
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 40 }, () => 200));
    expect(await verified()).toBe(1);
  });

  test.each(['RS256', 'PS256', 'ES384', 'EdDSA'])(
    'may be signed by %s where the policy lists it',
    async (alg) => {
      const other = await issuer.rotate('add', alg);
      site.trust({ algorithms: [alg as 'RS256'] });
      expect((await ask(await sign(other, issuer.url))).status).toBe(200);
      expect((await ask(await sign(key, issuer.url))).status).toBe(401);
    },
  );

  test('may go on to a service that asks for it', async () => {
    site.trust();
    const services = [service('tiny', { ready: [site.backend.address], passAuthorization: true })];
    site.use({ issuers: [site.trusted] }, services);
    const token = await sign(key, issuer.url);
    expect((await ask(token)).status).toBe(200);
    expect(site.backend.seen.at(-1)?.headers.authorization).toBe(`Bearer ${token}`);
  });

  test('ends when it says so, also where it was known', async () => {
    site.trust();
    const end = Math.floor(Date.now() / 1000) + 2;
    const token = await sign(key, issuer.url, { exp: end });
    expect((await ask(token)).status).toBe(200);
    await until(async () => (await ask(token)).status === 401);
    expect(Date.now() / 1000).toBeGreaterThanOrEqual(end);
    expect((await ask(token)).text).toContain('It has expired.');
  });

  const now = () => Math.floor(Date.now() / 1000);
  test.each<[string, () => Promise<string>]>([
    [
      'is signed by nobody',
      async () => `${part({ alg: 'none' })}.${(await sign(key, issuer.url)).split('.')[1]!}.`,
    ],
    [
      'is signed with the public key as a password',
      async () => {
        const head = `${part({ alg: 'HS256', kid: key.kid })}.${(await sign(key, issuer.url)).split('.')[1]!}`;
        const mac = createHmac('sha256', await exportSPKI(key.publicKey))
          .update(head)
          .digest('base64url');
        return `${head}.${mac}`;
      },
    ],
    [
      'is signed by another key under the same name',
      async () => sign({ ...(await makeSigningKey()), kid: key.kid }, issuer.url),
    ],
    ['is of another issuer', () => sign(key, 'https://evil.example')],
    ['is for another audience', () => sign(key, issuer.url, { aud: 'other' })],
    ['is for nobody', () => sign(key, issuer.url, { aud: undefined })],
    ['has expired', () => sign(key, issuer.url, { exp: now() - 1 })],
    ['never expires', () => sign(key, issuer.url, { exp: undefined })],
    ['is not valid yet', () => sign(key, issuer.url, { nbf: now() + 100 })],
    ['has no subject', () => sign(key, issuer.url, { sub: undefined })],
    ['has a subject that is no word', () => sign(key, issuer.url, { sub: 'a\nb' })],
    [
      'asks for an extension that nobody knows',
      () => sign(key, issuer.url, {}, { crit: ['x'], x: 1 }, { crit: { x: true } }),
    ],
    [
      'has a body that was changed',
      async () => {
        const [head, , mac] = (await sign(key, issuer.url)).split('.');
        return `${head!}.${part({ iss: issuer.url, aud: 'muster', sub: 'root', exp: now() + 99 })}.${mac!}`;
      },
    ],
    ['is no JSON', async () => `eyJub3QganNvbg.${(await sign(key, issuer.url)).split('.')[1]!}.AAAA`],
    ['has four parts', async () => `${await sign(key, issuer.url)}.AAAA`],
    ['is huge', async () => sign(key, issuer.url, { filler: 'x'.repeat(12_000) })],
  ])('that %s is refused, and its server sees nothing of it', async (_what, make) => {
    site.trust();
    const token = await make();
    for (let time = 0; time < 2; time += 1) {
      const answer = await ask(token);
      expect(answer.status).toBe(401);
      expect(answer.headers.get('www-authenticate')).toContain('invalid_token');
      expect(answer.text).not.toContain('evil.example');
    }
    expect(site.backend.seen).toEqual([]);
  });

  test('cannot name an address where its keys are to be had', async () => {
    const attacker = await startIssuer();
    const own = await attacker.rotate();
    site.trust();
    const heads = [
      { jku: attacker.jwksUri, kid: own.kid },
      { x5u: attacker.jwksUri, kid: own.kid },
      { jwk: own.jwk, kid: own.kid },
    ];
    for (const head of heads)
      expect((await ask(await sign(own, issuer.url, {}, head as never))).status).toBe(401);
    expect(attacker.asked).toEqual([]);
    await attacker.close();
  });

  test('says by its claims what its caller may', async () => {
    site.trust({ claims: { models: 'muster.models', scopes: 'scope' }, scopes: ['*'] });
    const ann = await sign(key, issuer.url, { muster: { models: ['default/tiny'] }, scope: 'openid infer' });
    expect((await ask(ann)).status).toBe(200);
    expect((await ask(ann, 'big')).status).toBe(403);
    const lacking = await ask(await sign(key, issuer.url, { scope: 'infer' }));
    expect(lacking.status).toBe(401);
    expect(lacking.text).toContain("claim 'muster.models'");
    expect(
      (await ask(await sign(key, issuer.url, { muster: { models: '*' }, scope: 'openid' }))).status,
    ).toBe(403);
  });

  test('of an issuer that is no longer trusted is refused with the next request', async () => {
    site.trust();
    const token = await sign(key, issuer.url);
    expect((await ask(token)).status).toBe(200);
    site.trust({ audiences: ['other'] });
    expect((await ask(token)).status).toBe(401);
  });

  test('finds whether a model is ready where its requests find it, once it was verified', async () => {
    site.trust({ namespace: 'team' });
    const headers = { authorization: `Bearer ${await sign(key, issuer.url)}` };
    const ready = async () => (await get(`${site.gateway.url}/v2/models/iris/ready`, headers)).status;
    expect(await ready()).toBe(404);
    expect(await verified()).toBe(0);
    expect((await postJson(`${site.gateway.url}/v2/models/iris/infer`, {}, headers)).status).toBe(200);
    expect(await ready()).toBe(200);
  });

  test('does not touch keys: both are taken side by side', async () => {
    const own = newKey();
    site.use({ keys: [own.record], issuers: [site.trusted] });
    expect((await ask(own.key)).status).toBe(200);
    expect((await ask(await sign(key, issuer.url))).status).toBe(200);
    expect(await site.metric('muster_gateway_access_admitted_total{by="token"}')).toBe(1);
  });
});

describe("an issuer's keys", () => {
  test('are fetched once for many tokens, and again for a key that is new', async () => {
    site.trust();
    for (let time = 0; time < 5; time += 1) {
      const token = await sign(key, issuer.url, { jti: String(time) });
      expect((await ask(token)).status).toBe(200);
    }
    expect(issuer.asked).toEqual(['/keys']);
    const next = await issuer.rotate('add');
    expect((await ask(await sign(next, issuer.url))).status).toBe(200);
    expect((await ask(await sign(key, issuer.url))).status).toBe(200);
    expect(issuer.asked).toHaveLength(2);
  });

  test('that were withdrawn open nothing any more, once what is remembered was looked at again', async () => {
    await site.restart({ jwksPauseMs: 0, jwksFreshMs: 0, recheckMs: 100 });
    site.trust();
    const old = await sign(key, issuer.url);
    expect((await ask(old)).status).toBe(200);
    const next = await issuer.rotate('replace');
    await until(async () => (await ask(old)).status === 401);
    expect((await ask(await sign(next, issuer.url))).status).toBe(200);
  });

  test('are not asked for again and again by made-up key names', async () => {
    await site.restart({ jwksPauseMs: 60_000 });
    site.trust();
    const good = await sign(key, issuer.url);
    expect((await ask(good)).status).toBe(200);
    const forger = await makeSigningKey();
    for (let time = 0; time < 20; time += 1)
      expect((await ask(await sign({ ...forger, kid: `made-up-${time}` }, issuer.url))).status).toBe(401);
    expect(issuer.asked).toEqual(['/keys']);
    expect((await ask(good)).status).toBe(200);
  });

  test.each<[string, TestIssuer['respond']]>([
    ['answers 500', (_request, response) => response.writeHead(500).end('no')],
    ['hangs up', (request) => request.socket.destroy()],
    ['never answers', () => undefined],
    ['answers something else', (_request, response) => response.end('<html>')],
    ['answers without keys', (_request, response) => response.end('{"keys": []}')],
    [
      'answers a secret key',
      (_request, response) => response.end('{"keys":[{"kty":"oct","k":"AAAA","kid":"x"}]}'),
    ],
    ['answers too much', (_request, response) => response.end(`{"keys":[],"x":"${'y'.repeat(300_000)}"}`)],
  ])('stay in use while the issuer %s', async (_what, respond) => {
    site.trust();
    expect((await ask(await sign(key, issuer.url))).status).toBe(200);
    issuer.respond = respond;
    const unknown = await makeSigningKey();
    expect((await ask(await sign(unknown, issuer.url))).status).toBe(401);
    expect(issuer.asked).toHaveLength(2);
    expect((await ask(await sign(key, issuer.url, { jti: 'later' }))).status).toBe(200);
    issuer.respond = null;
    const next = await issuer.rotate('add');
    expect((await ask(await sign(next, issuer.url))).status).toBe(200);
  });

  test('that were never to be had are said to be away, not the token to be wrong, until they are there', async () => {
    issuer.respond = (_request, response) => response.writeHead(503).end();
    site.trust();
    const token = await sign(key, issuer.url);
    const answer = await ask(token);
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).toBe('2');
    expect(answer.body).toMatchObject({ error: { code: 'issuer_unavailable' } });
    issuer.respond = null;
    await until(async () => (await ask(token)).status === 200);
  });

  test('are too old to be used when the issuer was away for too long', async () => {
    await site.restart({ jwksPauseMs: 0, jwksStaleMs: 300, recheckMs: 50 });
    site.trust();
    const token = await sign(key, issuer.url);
    expect((await ask(token)).status).toBe(200);
    issuer.respond = (_request, response) => response.writeHead(500).end();
    await until(async () => (await ask(token)).status === 503);
    issuer.respond = null;
    expect((await ask(token)).status).toBe(200);
  });

  test('are not fetched from where a redirect points', async () => {
    const elsewhere = await startIssuer();
    const other = await elsewhere.rotate();
    issuer.respond = (_request, response) => response.writeHead(302, { location: elsewhere.jwksUri }).end();
    site.trust();
    expect((await ask(await sign(other, issuer.url))).status).toBe(503);
    expect(elsewhere.asked).toEqual([]);
    await elsewhere.close();
  });

  test('are found by the discovery document, on the origin of the issuer alone', async () => {
    site.trust({ jwksUri: undefined });
    expect((await ask(await sign(key, issuer.url))).status).toBe(200);
    expect(issuer.asked).toEqual(['/.well-known/openid-configuration', '/keys']);
    const elsewhere = await startIssuer();
    const other = await elsewhere.rotate();
    issuer.respond = (_request, response) =>
      response.end(JSON.stringify({ issuer: issuer.url, jwks_uri: elsewhere.jwksUri }));
    site.trust({ jwksUri: undefined, clockSkewSeconds: 1 });
    expect((await ask(await sign(other, issuer.url))).status).toBe(503);
    expect(elsewhere.asked).toEqual([]);
    expect(JSON.stringify(site.gateway.logs)).toContain('give jwksUri in the policy');
    await elsewhere.close();
  });

  test.each<[string, string, () => JWK]>([
    [
      'is too short',
      'RS256',
      () => generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export(jwk),
    ],
    ['lacks a part', 'RS256', () => ({ kty: 'RSA', e: 'AQAB' })],
    ['is no point of its curve', 'ES256', () => ({ kty: 'EC', crv: 'P-256', x: 'AAAA', y: 'AAAA' })],
  ])('one of which %s refuse its own tokens, and are told once', async (_what, alg, make) => {
    const kid = 'odd';
    const odd = { ...(await makeSigningKey(alg)), kid };
    issuer.keys.push({ ...make(), kid, alg, use: 'sig' });
    await site.restart({ jwksPauseMs: 60_000 });
    site.trust();
    for (let time = 0; time < 3; time += 1) {
      const answer = await ask(await sign(odd, issuer.url, { jti: String(time) }));
      expect(answer.status).toBe(401);
      expect(answer.text).toContain('The key of its issuer cannot be used.');
    }
    const told = site.gateway.logs.filter(({ msg }) => String(msg).includes('cannot be used'));
    expect(told).toEqual([expect.objectContaining({ issuer: 'idp', key: kid, why: expect.any(String) })]);
    expect((await ask(await sign(key, issuer.url))).status).toBe(200);
  });

  test('stay where they are when a table changes something else', async () => {
    site.trust();
    const token = await sign(key, issuer.url);
    expect((await ask(token)).status).toBe(200);
    for (let time = 0; time < 3; time += 1) site.trust();
    expect((await ask(token)).status).toBe(200);
    expect(issuer.asked).toEqual(['/keys']);
    expect(await verified()).toBe(1);
  });
});

describe('when too many tokens are new at once', () => {
  test('those beyond the bound are told to come again', async () => {
    await site.restart({ verificationsMax: 2, waitersMax: 3, jwksFetchMs: 2_000 });
    let release: () => void = () => undefined;
    issuer.respond = (_request, response) => {
      release = () => response.end(JSON.stringify({ keys: issuer.keys }));
    };
    site.trust();
    const tokens = await Promise.all([0, 1, 2].map((jti) => sign(key, issuer.url, { jti: String(jti) })));
    const waiting = [ask(tokens[0]!), ask(tokens[1]!), ask(tokens[1]!)];
    await until(async () => (await site.metric('muster_gateway_access_verifying')) === 3);
    for (const token of tokens) {
      const answer = await ask(token);
      expect(answer.status).toBe(503);
      expect(answer.body).toMatchObject({ error: { code: 'gateway_busy' } });
    }
    release();
    for (const answer of waiting) expect((await answer).status).toBe(200);
    expect((await ask(tokens[2]!)).status).toBe(200);
    expect(await site.metric('muster_gateway_access_verifying')).toBe(0);
  });
});
