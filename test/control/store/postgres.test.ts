import { afterAll, beforeAll, expect } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Batch } from '../../../domain/batch/batch.schema.ts';
import { anonymous } from '../../../domain/access/caller.ts';
import { openStore } from '../../../control/store/store.ts';
import type { PostgresServer } from '../../fixtures/control/postgres.ts';
import { postgresPrograms, startPostgres } from '../../fixtures/control/postgres.ts';
import { assignment, clusterRuntime, nodeReport, service } from '../../fixtures/control/manifests.ts';
import { requirePart } from '../../fixtures/require.ts';

const programs = postgresPrograms();
const test = requirePart(
  'a Postgres server',
  programs !== null,
  'initdb is not installed (apt-get install postgresql)',
);

let server: PostgresServer | null = null;
beforeAll(async () => {
  if (programs !== null) server = await startPostgres(programs);
});
afterAll(async () => {
  await server?.stop();
});
const open = (onBroken?: (error: Error) => void) =>
  openStore({ folder: '', databaseUrl: server?.url, ...(onBroken === undefined ? {} : { onBroken }) });

test('Postgres speaks the dialect of the embedded store, and keeps what it was given', async () => {
  const store = await open();
  expect(store.migrated.from).toBe(0);
  const object = { ...service('iris', 'file:///m', 'default') };
  await store.services.accept({ object, generation: 1, generationBefore: 0 });
  await store.services.publish({ ...object, metadata: { ...object.metadata, generation: 2 } }, 'Ready');
  expect(
    await store.services.publish({ ...object, metadata: { ...object.metadata, generation: 1 } }, 'Failed'),
  ).toBe(false);
  await store.runtimes.put(clusterRuntime('one', 'onnx'));
  expect(await store.runtimes.put(clusterRuntime('one', 'onnx'))).toBe('unchanged');
  await store.runtimes.noteStock('one', 'hash');
  const key = {
    ...{
      id: 'k1',
      name: 'Ann',
      sha256: 'a'.repeat(64),
      tenant: 'acme',
      tier: 'high' as const,
      namespace: null,
    },
    ...{ scopes: ['infer' as const], models: ['*'], rotatedFrom: null },
    ...{ createdAt: '2026-01-01T00:00:00.000Z', expiresAt: null, revokedAt: null },
  };
  await store.access.addKey(key);
  const ends = { expiresAt: '2026-02-01T00:00:00.000Z', revokedAt: '2026-01-02T00:00:00.000Z' };
  await store.access.endKey('k1', ends, '2026-01-02T00:00:00.000Z');
  expect(await store.access.keys()).toEqual([{ ...key, ...ends }]);
  expect(await store.access.key('k2')).toBeNull();
  const policy = {
    ...{ apiVersion: 'muster.dev/v1alpha1' as const, kind: 'GatewayPolicy' as const },
    ...{ metadata: { name: 'default' as const }, spec: { access: { mode: 'required' as const } } },
  };
  await store.access.putPolicy(policy);
  expect(await store.access.policy()).toEqual(policy);
  await store.access.removePolicy('default');
  expect(await store.access.policy()).toBeNull();
  for (const second of [1, 2, 2]) {
    await store.records.addEvent({
      namespace: 'default',
      name: 'iris',
      type: 'Normal',
      reason: 'Test',
      message: 'a \0 byte',
      time: new Date(second * 1000).toISOString(),
    });
  }
  await store.routing.putAssignment(assignment('iris', [{ revision: 'r1', percent: 100 }]));
  await store.routing.saveReport(nodeReport('a', []));
  await store.routing.saveVersion({ version: 3, contentHash: 'three' });
  await store.close();

  const again = await open();
  expect(again.migrated.from).toBe(again.migrated.to);
  expect(await again.services.list()).toMatchObject([
    { generation: 2, phase: 'Ready', object: { metadata: { name: 'iris' } } },
  ]);
  expect(await again.records.events('default', 'iris')).toMatchObject([{ count: 2 }]);
  expect(await again.routing.version()).toEqual({ version: 3, contentHash: 'three' });
  expect(await again.routing.reports()).toEqual([nodeReport('a', [])]);
  expect(await again.runtimes.stock()).toEqual(new Map([['one', 'hash']]));
  expect(await again.runtimes.version()).toBe(1);
  await again.records.sweep();
  await again.services.forget('default', 'iris');
  expect(await again.records.events('default', 'iris')).toEqual([]);
  await again.close();
});

test('Postgres keeps the ledger as the embedded store does: each record once, in sums and in budgets', async () => {
  const store = await open();
  const at = Date.parse('2026-11-24T12:00:00Z');
  const record = {
    ...{ seq: 1, requestId: 'r\0', at, key: 'k', tenant: 'acme', namespace: 'default', service: 'chat' },
    ...{ model: 'chat', inputTokens: 10, cachedInputTokens: 4, outputTokens: 5, costMicros: 7 },
    ...{ currency: 'USD', estimated: true, budgets: ['all|total', 'acme|2026-11'] },
  };
  const share = {
    ...{ window: 'acme|2026-11', budget: 'acme', endMs: Date.parse('2026-12-01'), limitTokens: 100 },
    ...{ limitMicros: null, grantedTokens: 40, grantedMicros: 0, spentTokens: 15, spentMicros: 7 },
  };
  const report = { gateway: 'g', records: [record, { ...record, seq: 2 }], shares: [share] };
  const added = await Promise.all([1, 2, 3].map(() => store.ledger.add(report, at)));
  expect(added.sort()).toEqual([0, 0, 2]);
  for (const by of ['tenant', 'key', 'model', 'service', 'day'] as const) {
    expect(await store.ledger.sums(by, at, at + 3_600_000)).toMatchObject([
      { requests: 2, estimated: 2, inputTokens: 20, cachedInputTokens: 8, outputTokens: 10, costMicros: 14 },
    ]);
  }
  expect(await store.ledger.budgets(at)).toMatchObject([
    { account: 'acme', spentTokens: 30, leasedTokens: 10, leftTokens: 60, leftCostMicros: null },
  ]);
  expect(await store.ledger.spending(at, '', 9)).toEqual([
    { window: 'acme|2026-11', endMs: share.endMs, spent: [{ gateway: 'g', tokens: 30, micros: 14 }] },
    { window: 'all|total', endMs: null, spent: [{ gateway: 'g', tokens: 30, micros: 14 }] },
  ]);
  expect(await store.ledger.prune(at + 1)).toBe(2);
  await store.close();
});

test('concurrent writers leave the newest generation in Postgres too', async () => {
  const store = await open();
  const names = Array.from({ length: 30 }, (_, i) => `race-${i}`);
  const publish = (name: string, generation: number) => {
    const object = service(name, 'file:///m', 'default');
    return store.services.publish({ ...object, metadata: { ...object.metadata, generation } }, 'Ready');
  };
  // The first writes of a service: there is no row yet that could be locked.
  await Promise.all(names.flatMap((name) => [3, 1, 5, 2, 4].map((generation) => publish(name, generation))));
  const generations = (await store.services.list()).map(({ generation }) => generation);
  expect(generations).toEqual(names.map(() => 5));
  await store.close();
});

test('a batch takes each result once, and none once its files are being written, in Postgres too', async () => {
  const store = await open();
  const { batches } = store;
  const [id, input] = ['batch_race', 'file-race'];
  const batch: Batch = {
    ...{ id, object: 'batch', endpoint: '/v1/embeddings', errors: null, input_file_id: input },
    ...{ completion_window: '24h', status: 'in_progress', output_file_id: null, error_file_id: null },
    ...{ created_at: 1, in_progress_at: 1, expires_at: 2, finalizing_at: null, completed_at: null },
    ...{ failed_at: null, expired_at: null, cancelling_at: null, cancelled_at: null, metadata: null },
    request_counts: { total: 200, completed: 0, failed: 0 },
  };
  const caller = { ...anonymous, scopes: [], models: [] };
  await batches.addBatch({ tenant: 't', caller, batch });
  await batches.addResults(id, [{ line: 0, ok: true, text: 'first' }]);
  await batches.addResults(id, [{ line: 0, ok: false, text: 'second' }]);
  expect(await batches.results(id, 0, 1)).toEqual([{ line: 0, ok: true, text: 'first' }]);

  // The change has begun and is not there yet: a result that comes now must not slip in behind it.
  const other = new pg.Client({ connectionString: server?.url });
  await other.connect();
  await other.query('BEGIN');
  await other.query(`UPDATE batches SET status = 'finalizing' WHERE id = $1`, [id]);
  const adding = batches.addResults(id, [{ line: 1, ok: true, text: 'late' }]);
  await sleep(200);
  await other.query('COMMIT');
  await other.end();
  await adding;
  expect(await batches.counts(id)).toEqual({ completed: 1, failed: 0 });
  await store.close();
});

test('a second control API on the same database is refused plainly', async () => {
  const store = await open();
  await expect(open()).rejects.toMatchObject({
    code: 'already_running',
    message: expect.stringMatching(/in use by another control API/),
  });
  await store.close();
  await (await open()).close();
});

test('losing the connection that holds the lock is told, since another process may take the store', async () => {
  const broken: string[] = [];
  const store = await open((error) => broken.push(error.message));
  const killer = new pg.Client({ connectionString: server?.url });
  await killer.connect();
  await killer.query(
    `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()`,
  );
  await killer.end();
  for (let i = 0; i < 100 && broken.length === 0; i++)
    await new Promise((resolve) => setTimeout(resolve, 20));
  expect(broken[0]).toMatch(/connection that holds the store was lost/);
  await store.close().catch(() => undefined);
});
