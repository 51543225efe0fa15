import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { z } from 'zod';
import type { AccessPolicy } from '../../../domain/access/access-policy.schema.ts';
import { sign, startIssuer } from '../../fixtures/access/issuer.ts';
import type { SigningKey, TestIssuer } from '../../fixtures/access/issuer.ts';
import { useAccess } from '../../fixtures/access/keys.ts';
import { echo, startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

describe('a token that is being verified while the policy changes', () => {
  let backend: Backend;
  let issuer: TestIssuer;
  let key: SigningKey;
  let gateway: TestGateway;
  beforeEach(async () => {
    backend = await startBackend(echo);
    issuer = await startIssuer();
    key = await issuer.rotate();
    gateway = await startTestGateway({ jwksPauseMs: 0, jwksFetchMs: 5_000 });
  });
  afterEach(async () => {
    await gateway.close();
    await issuer.close();
    await backend.close();
  });

  const use = (issuers: z.input<typeof AccessPolicy>['issuers']) => {
    useAccess(gateway, [service('tiny', { ready: [backend.address] })], { mode: 'required', issuers });
  };
  const ours = (audience: string) => {
    const { url, jwksUri } = issuer;
    use([{ name: 'idp', issuer: url, jwksUri, audiences: [audience] }]);
  };
  const ask = (token: string) =>
    postJson(`${gateway.url}/v1/completions`, { model: 'tiny' }, { authorization: `Bearer ${token}` });
  const metric = async (name: string) =>
    Number(new RegExp(`^${name} (\\S+)$`, 'm').exec((await get(`${gateway.url}/metrics`)).text)?.[1]);
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
    until(async () => (await metric('muster_gateway_access_verifying')) === count);

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
    expect(backend.seen).toEqual([]);
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
    expect(await metric('muster_gateway_access_refused_remembered')).toBe(0);
  });

  test('is known to nobody when its issuer is trusted no longer', async () => {
    const release = hold();
    ours('muster');
    const token = await sign(key, issuer.url);
    const answer = ask(token);
    await waiting(1);
    use([]);
    release();
    expect((await answer).status).toBe(401);
    expect(backend.seen).toEqual([]);
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
    expect(await metric('muster_gateway_access_verifying')).toBe(0);
  });
});
