import { createHash } from 'node:crypto';
import { get } from 'node:http';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { parseKey } from '../../../domain/access/key.ts';
import type { CreatedKey, KeyList, KeyRecord } from '../../../domain/control/keys.schema.ts';
import { RouteTable } from '../../../domain/route-table/route-table.schema.ts';
import { endedKeysMax } from '../../../control/store/access.ts';
import type { ApiHarness } from '../../fixtures/control/api-harness.ts';
import { startApi } from '../../fixtures/control/api-harness.ts';
import { until } from '../../fixtures/gateway/control-api.ts';

const keys = '/apis/muster.dev/v1alpha1/keys';
const policies = '/apis/muster.dev/v1alpha1/gatewaypolicies';
const policy = (spec: unknown, name = 'default') => ({
  apiVersion: 'muster.dev/v1alpha1',
  kind: 'GatewayPolicy',
  metadata: { name },
  spec,
});

let api: ApiHarness;

/** What gateways are sent, and as a gateway would read it. */
async function published(): Promise<{ text: string; table: RouteTable }> {
  const text = await new Promise<string>((resolve, reject) => {
    const headers = { authorization: `Bearer ${api.internalToken}` };
    const asking = get(
      `${api.url}/internal/routes/stream?gateway=test`,
      { headers, agent: false },
      (answer) => {
        let line = '';
        answer.setEncoding('utf8').on('data', (part: string) => {
          line += part;
          if (line.includes('\n')) asking.destroy();
        });
        answer.on('close', () => {
          resolve(line);
        });
        answer.on('error', () => undefined);
      },
    );
    asking.on('error', reject);
  });
  return { text, table: RouteTable.parse(JSON.parse(text)) };
}
const publishedIds = async () => ((await published()).table.policy?.access.keys ?? []).map(({ id }) => id);
const create = async (body: object = { name: 'one' }): Promise<CreatedKey> => {
  const answer = await api.call('POST', keys, body);
  expect(answer.status).toBe(201);
  expect(answer.headers.get('cache-control')).toBe('no-store');
  return answer.body as CreatedKey;
};
const list = async (all = false) =>
  ((await api.call('GET', `${keys}${all ? '?all=true' : ''}`)).body as KeyList).items;

describe('API keys', () => {
  beforeEach(async () => {
    api = await startApi();
  });
  afterEach(() => api.close());

  test('are shown once, kept and published as their SHA-256 alone', async () => {
    const created = await create({ name: 'Ann', tenant: 'acme', tier: 'high', models: ['default/*'] });
    expect(parseKey(created.key)).toEqual({ kind: 'key', id: created.id });
    expect(created).toMatchObject({ name: 'Ann', tenant: 'acme', scopes: ['infer'], state: 'active' });
    const { text, table } = await published();
    expect(table.policy?.access.keys).toMatchObject([
      { id: created.id, tier: 'high', sha256: createHash('sha256').update(created.key).digest('hex') },
    ]);
    const secret = created.key.slice(-49);
    const everything = JSON.stringify([text, await list(), await api.store.access.keys()]);
    expect(everything).toContain(created.id);
    expect(everything).not.toContain(secret);
    expect(JSON.stringify((await api.call('GET', `${keys}/${created.id}`)).body)).not.toMatch(/sha256|key"/);
  });

  test('that are revoked are out of the table before the answer is there, and stay out after a restart', async () => {
    const [first, second] = [await create(), await create()];
    const revoked = (await api.call('DELETE', `${keys}/${first.id}`)).body as KeyRecord;
    expect(revoked).toMatchObject({ state: 'revoked', revokedAt: '2026-01-01T00:00:00.000Z' });
    expect(await publishedIds()).toEqual([second.id]);
    api.clock.now += 5_000;
    expect((await api.call('DELETE', `${keys}/${first.id}`)).body).toEqual(revoked);
    await api.restart();
    expect(await publishedIds()).toEqual([second.id]);
    expect((await list()).map(({ id }) => id)).toEqual([second.id]);
    expect((await list(true)).map(({ state }) => state).sort()).toEqual(['active', 'revoked']);
    expect((await api.call('DELETE', `${keys}/nobody`)).status).toBe(404);
  });

  test('that expire leave the table by themselves', async () => {
    const short = await create({ name: 'short', ttlSeconds: 3600 });
    const long = await create({ name: 'long', expiresAt: '2026-03-01T02:00:00+02:00' });
    expect(long.expiresAt).toBe('2026-03-01T00:00:00.000Z');
    expect((await publishedIds()).sort()).toEqual([short.id, long.id].sort());
    api.clock.now += 3_600_001;
    await create({ name: 'any change' });
    expect(await publishedIds()).not.toContain(short.id);
    expect((await list(true)).find(({ id }) => id === short.id)).toMatchObject({ state: 'expired' });
    await api.restart();
    expect(await publishedIds()).not.toContain(short.id);
  });

  test('the moment of expiry makes a new table without any other cause', async () => {
    const realTime = Date.now();
    const started = api.clock.now;
    const short = await create({ name: 'soon', ttlSeconds: 1 });
    expect(await publishedIds()).toEqual([short.id]);
    await until(async () => {
      api.clock.now = started + (Date.now() - realTime);
      return (await publishedIds()).length === 0;
    });
  });

  test('are rotated: the new one has the rights of the old, which ends at once or after its grace', async () => {
    const old = await create({ name: 'svc', tenant: 'acme', models: ['team/*'], scopes: ['infer', 'admin'] });
    const next = (await api.call('POST', `${keys}/${old.id}/rotate`, { graceSeconds: 60 }))
      .body as CreatedKey;
    expect(next).toMatchObject({ ...old, id: next.id, key: next.key, rotatedFrom: old.id });
    expect(next.key).not.toBe(old.key);
    expect((await publishedIds()).sort()).toEqual([old.id, next.id].sort());
    api.clock.now += 60_001;
    const last = (await api.call('POST', `${keys}/${next.id}/rotate`, {})).body as CreatedKey;
    expect(await publishedIds()).toEqual([last.id]);
    expect((await api.call('POST', `${keys}/${old.id}/rotate`, {})).status).toBe(409);
  });

  test('that have ended are forgotten beyond a bound, the oldest first', async () => {
    const at = (second: number) => new Date(Date.parse('2025-01-01T00:00:00Z') + second * 1000).toISOString();
    const row = (index: number) => ({
      ...{ id: `k${index}`, name: '', tenant: '', tier: 'standard' as const, namespace: null },
      ...{ scopes: [], models: [], expiresAt: null, rotatedFrom: null },
      sha256: String(index).padStart(64, '0'),
      createdAt: at(index),
      revokedAt: at(index),
    });
    for (let index = 0; index <= endedKeysMax; index += 1) await api.store.access.addKey(row(index));
    const ids = (await api.store.access.keys()).map(({ id }) => id);
    expect(ids).toHaveLength(endedKeysMax);
    expect(ids).not.toContain('k0');
    expect(ids).toContain('k1');
  });
});

describe('the policy of the gateways', () => {
  beforeEach(async () => {
    api = await startApi();
  });
  afterEach(() => api.close());

  test('is applied, read as it was written, published with its defaults to come, and deleted', async () => {
    expect((await published()).table.policy).toBeUndefined();
    const answer = await api.call('PUT', `${policies}/default`, policy({ access: { mode: 'required' } }));
    expect(answer.status).toBe(201);
    expect(answer.headers.get('x-muster-outcome')).toBe('created');
    const { text, table } = await published();
    expect(text).toContain('"policy":{"access":{"mode":"required"}}');
    expect(table.policy?.access).toMatchObject({ mode: 'required', keys: [] });
    expect((await api.call('GET', `${policies}/default`)).body).toMatchObject({
      spec: { access: { mode: 'required' } },
    });
    const again = await api.call('PUT', `${policies}/default`, policy({ access: { mode: 'required' } }));
    expect([again.status, again.headers.get('x-muster-outcome')]).toEqual([200, 'unchanged']);
    await api.restart();
    expect((await published()).table).toEqual(table);
    expect((await api.call('DELETE', `${policies}/default`)).status).toBe(200);
    expect((await published()).table.policy).toBeUndefined();
    expect((await api.call('GET', `${policies}/default`)).status).toBe(404);
    expect((await api.call('GET', policies)).body).toMatchObject({ items: [] });
  });

  test('is joined with the keys of the store, each id and hash once', async () => {
    const created = await create();
    const own = { id: 'own', sha256: 'b'.repeat(64) };
    const twin = { id: created.id, sha256: 'c'.repeat(64) };
    const over = { id: 'over', sha256: 'd'.repeat(64), expiresAt: '2025-01-01T00:00:00Z' };
    const spec = { access: { mode: 'required', keys: [own, twin, over] } };
    expect((await api.call('PUT', `${policies}/default`, policy(spec))).status).toBe(201);
    const { table } = await published();
    expect(table.policy?.access.mode).toBe('required');
    expect(table.policy?.access.keys.map(({ id }) => id)).toEqual([created.id, 'own']);
    expect(table.policy?.access.keys[0]?.sha256).not.toBe(twin.sha256);
  });
});

describe('what is wrong', () => {
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api.close());

  test.each([
    ['no name', {}, 'name is missing'],
    ['an unknown tier', { name: 'x', tier: 'urgent' }, 'tier must be one of'],
    ['an unknown scope', { name: 'x', scopes: ['root'] }, 'scopes[0] must be one of'],
    ['a model without its namespace', { name: 'x', models: ['iris'] }, 'write namespace/name'],
    ['a time that is over', { name: 'x', expiresAt: '2025-01-01T00:00:00Z' }, 'which is over already'],
    ['a time that is none', { name: 'x', expiresAt: 'tomorrow' }, 'write a time such as'],
    ['two ends', { name: 'x', expiresAt: '2027-01-01T00:00:00Z', ttlSeconds: 3 }, 'not both'],
    ['a key of its own', { name: 'x', sha256: 'a'.repeat(64) }, 'sha256 is not a known field'],
    ['a blank in the tenant', { name: 'x', tenant: 'a b' }, 'hold no blanks'],
  ])('in a key: %s is refused, by field', async (_what, body, says) => {
    const answer = await api.call('POST', keys, body);
    expect(answer.status).toBe(422);
    expect((answer.body as { detail: string }).detail).toContain(says);
    expect(await list(true)).toEqual([]);
  });

  test.each([
    ['another name', policy({}, 'mine'), 'metadata.name must be "default"'],
    [
      'an unknown mode',
      policy({ access: { mode: 'closed' } }),
      'spec.access.mode must be one of "open", "required"',
    ],
    ['a slip of the pen', policy({ access: { mod: 'open' } }), 'did you mean spec.access.mode?'],
    ['an unknown section', policy({ acess: {} }), 'did you mean spec.access?'],
    [
      'a key that is no hash',
      policy({ access: { keys: [{ id: 'a', sha256: 'mk_plain' }] } }),
      'spec.access.keys[0].sha256',
    ],
    [
      'an id given twice',
      policy({ access: { keys: [1, 2].map((n) => ({ id: 'a', sha256: String(n).repeat(64) })) } }),
      'spec.access.keys[1].id',
    ],
    [
      'a symmetric algorithm',
      policy({
        access: {
          issuers: [{ name: 'i', issuer: 'https://a.example', audiences: ['x'], algorithms: ['HS256'] }],
        },
      }),
      'spec.access.issuers[0].algorithms[0]',
    ],
    [
      'keys of an issuer over plain http',
      policy({
        access: {
          issuers: [
            { name: 'i', issuer: 'https://a.example', jwksUri: 'http://a.example/k', audiences: ['x'] },
          ],
        },
      }),
      'spec.access.issuers[0].jwksUri',
    ],
  ])('in a policy: %s is refused, with the path of the field', async (_what, body, says) => {
    const answer = await api.call('PUT', `${policies}/default`, body);
    expect(answer.status).toBe(422);
    expect((answer.body as { detail: string }).detail).toContain(says);
    expect((await published()).table.policy).toBeUndefined();
  });

  test('needs the token of people, like every other route', async () => {
    expect((await api.internal('GET', policies)).status).toBe(401);
    expect((await api.internal('GET', keys)).status).toBe(401);
    expect((await fetch(`${api.url}${keys}`)).status).toBe(401);
  });
});
