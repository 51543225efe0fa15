import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { sign } from '../../fixtures/access/issuer.ts';
import type { SigningKey, TestIssuer } from '../../fixtures/access/issuer.ts';
import { TokenSite } from '../../fixtures/access/token-site.ts';
import { until } from '../../fixtures/gateway/control-api.ts';

describe('a token that is being verified while the policy changes', () => {
  let site: TokenSite;
  let issuer: TestIssuer;
  let key: SigningKey;
  beforeEach(async () => {
    site = await TokenSite.start({ jwksPauseMs: 0, jwksFetchMs: 5_000 });
    ({ issuer, key } = site);
  });
  afterEach(() => site.close());

  const ours = (audience: string) => {
    site.trust({ audiences: [audience] });
  };
  const ask = (token: string) => site.ask(token);
  /** The issuer does not answer until it is told to. */
  const hold = () => {
    const held: (() => void)[] = [];
    issuer.respond = (_request, response) => {
      held.push(() => response.end(JSON.stringify({ keys: issuer.keys })));
    };
    return () => {
      issuer.respond = null;
      for (const release of held) release();
    };
  };
  const waiting = (count: number) =>
    until(async () => (await site.metric('muster_gateway_access_verifying')) === count);

  test('is refused by the new one, whoever asked when', async () => {
    const release = hold();
    ours('muster');
    const token = await sign(key, issuer.url);
    const before = ask(token);
    await waiting(1);
    ours('other');
    const after = ask(token);
    await waiting(2);
    release();
    expect((await before).status).toBe(401);
    expect((await after).status).toBe(401);
    expect((await ask(token)).status).toBe(401);
    expect(site.backend.seen).toEqual([]);
    await waiting(0);
  });

  test('is taken by the new one, and nothing of its refusal is left', async () => {
    const release = hold();
    ours('other');
    const token = await sign(key, issuer.url);
    const answers = [ask(token), ask(token)];
    await waiting(2);
    ours('muster');
    release();
    for (const answer of answers) expect((await answer).status).toBe(200);
    expect((await ask(token)).status).toBe(200);
    expect(await site.metric('muster_gateway_access_refused_remembered')).toBe(0);
  });

  test('is known to nobody when its issuer is trusted no longer', async () => {
    const release = hold();
    ours('muster');
    const token = await sign(key, issuer.url);
    const answer = ask(token);
    await waiting(1);
    site.use({ issuers: [] });
    release();
    expect((await answer).status).toBe(401);
    expect(site.backend.seen).toEqual([]);
  });

  test('is answered also when that happens again and again', async () => {
    let changes = 0;
    issuer.respond = (_request, response) => {
      changes += 1;
      ours(`audience-${changes}`);
      response.end(JSON.stringify({ keys: issuer.keys }));
    };
    ours('muster');
    const answer = await ask(await sign(key, issuer.url));
    issuer.respond = null;
    expect(answer.status).toBe(503);
    expect(answer.body).toMatchObject({ error: { code: 'gateway_busy' } });
    ours('muster');
    expect((await ask(await sign(key, issuer.url))).status).toBe(200);
    expect(await site.metric('muster_gateway_access_verifying')).toBe(0);
  });
});
