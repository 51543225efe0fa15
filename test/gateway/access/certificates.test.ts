import { Agent, request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { pino } from 'pino';
import type { z } from 'zod';
import type { AccessPolicy } from '../../../domain/access/access-policy.schema.ts';
import { buildGateway } from '../../../gateway/app.ts';
import type { Gateway } from '../../../gateway/app.ts';
import { defaultLimits } from '../../../gateway/limits.ts';
import { makeCertificates } from '../../fixtures/access/certificates.ts';
import type { Certificates } from '../../fixtures/access/certificates.ts';
import { newKey, useAccess } from '../../fixtures/access/keys.ts';
import { echo, startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { requirePart, runs } from '../../fixtures/require.ts';

const hasOpenssl = runs('openssl', ['version']);
const test = requirePart('openssl', hasOpenssl, 'it makes the certificates: install it');
type Rule = NonNullable<z.input<typeof AccessPolicy>['certificates']>[number];

describe('a client certificate', () => {
  let certificates: Certificates;
  let backend: Backend;
  let gateway: Gateway;
  let port: number;
  beforeAll(() => {
    if (!hasOpenssl) return;
    certificates = makeCertificates();
    certificates.make('server', 'DNS:localhost', 'ca');
    certificates.make('alice', 'DNS:alice.example,URI:spiffe://muster/ns/team/sa/alice', 'ca');
    certificates.make('bob', 'DNS:bob.example', 'ca');
    certificates.make('mallory', 'DNS:alice.example,URI:spiffe://muster/ns/team/sa/alice');
  }, 60_000);
  afterAll(() => {
    if (hasOpenssl) certificates.remove();
  });
  beforeEach(async () => {
    if (!hasOpenssl) return;
    backend = await startBackend(echo);
    gateway = buildGateway({
      limits: defaultLimits,
      logger: pino({ level: 'silent' }),
      version: '0',
      tls: {
        certPath: certificates.path('server.crt'),
        keyPath: certificates.path('server.key'),
        clientCaPath: certificates.path('ca.crt'),
      },
    });
    await gateway.app.listen({ host: '127.0.0.1', port: 0 });
    ({ port } = gateway.app.server.address() as AddressInfo);
  });
  afterEach(async () => {
    if (!hasOpenssl) return;
    gateway.app.server.closeAllConnections();
    await gateway.app.close();
    gateway.endpoints.close();
    await backend.close();
  });

  const use = (certificates_: Rule[], more: z.input<typeof AccessPolicy> = {}) => {
    const ready = [backend.address];
    useAccess(gateway, [service('tiny', { ready }), service('big', { ready })], {
      mode: 'required',
      certificates: certificates_,
      ...more,
    });
  };
  /** Statuses of requests on one connection. */
  async function ask(
    who: string | null,
    requests: readonly { readonly model: string; readonly headers?: Record<string, string> }[] = [
      { model: 'tiny' },
    ],
  ): Promise<number[]> {
    const pair =
      who === null ? {} : { cert: certificates.read(`${who}.crt`), key: certificates.read(`${who}.key`) };
    const agent = new Agent({ keepAlive: true, maxSockets: 1, ca: certificates.read('ca.crt'), ...pair });
    const statuses: number[] = [];
    for (const { model, headers } of requests) {
      const status = await new Promise<number>((resolve, reject) => {
        const body = JSON.stringify({ model });
        const options = { host: '127.0.0.1', port, servername: 'localhost', agent, method: 'POST' };
        request(
          { ...options, path: '/v1/completions', headers: { 'content-length': body.length, ...headers } },
          (answer) => {
            answer.resume().on('end', () => {
              resolve(answer.statusCode ?? 0);
            });
          },
        )
          .on('error', reject)
          .end(body);
      });
      statuses.push(status);
    }
    agent.destroy();
    return statuses;
  }

  test('is known by its name, a name of its own choice of form, or its fingerprint', async () => {
    const rules: Rule[] = [
      { name: 'by-cn', commonName: 'alice' },
      { name: 'by-dns', san: 'DNS:alice.example' },
      { name: 'by-uri', san: 'URI:spiffe://muster/ns/team/sa/alice' },
      { name: 'by-print', fingerprint256: certificates.fingerprint('alice') },
      {
        name: 'by-print',
        fingerprint256: certificates.fingerprint('alice').replaceAll(':', '').toLowerCase(),
      },
    ];
    for (const rule of rules) {
      use([rule]);
      expect([rule.name, await ask('alice'), await ask('bob'), await ask(null)]).toEqual([
        rule.name,
        [200],
        [401],
        [401],
      ]);
    }
  });

  test('that no authority of ours signed is none, whatever it says', async () => {
    use([{ name: 'alice', commonName: 'mallory', san: 'URI:spiffe://muster/ns/team/sa/alice' }]);
    expect(await ask('mallory')).toEqual([401]);
  });

  test('gives what its rule gives, and a key beside it decides instead', async () => {
    const { key, record } = newKey({ models: ['default/big'] });
    use([{ name: 'alice', commonName: 'alice', models: ['default/tiny'] }], { keys: [record] });
    const withKey = { authorization: `Bearer ${key}` };
    expect(
      await ask('alice', [
        { model: 'tiny' },
        { model: 'big' },
        { model: 'big', headers: withKey },
        { model: 'tiny', headers: withKey },
        { model: 'tiny', headers: { authorization: 'Bearer made-up' } },
        { model: 'tiny' },
      ]),
    ).toEqual([200, 403, 200, 403, 401, 200]);
  });

  test('is refused with the next request once its rule is gone, on an open connection, too', async () => {
    use([{ name: 'alice', commonName: 'alice' }]);
    const asking = ask('alice', [{ model: 'tiny' }]);
    expect(await asking).toEqual([200]);
    use([{ name: 'alice', commonName: 'someone-else' }]);
    expect(await ask('alice')).toEqual([401]);
  });
});
