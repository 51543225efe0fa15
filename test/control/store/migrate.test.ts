import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Database } from '../../../control/store/database.ts';
import type { Migration } from '../../../control/store/migrate.ts';
import { migrate } from '../../../control/store/migrate.ts';
import { migrations } from '../../../control/store/migrations.ts';
import { openPglite } from '../../../control/store/pglite.ts';
import { openStore } from '../../../control/store/store.ts';
import { service } from '../../fixtures/control/manifests.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-migrate-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe('migrate', () => {
  let database: Database;
  beforeAll(async () => {
    database = await openPglite(join(folder, 'synthetic'));
  });
  afterAll(async () => {
    await database.close();
  });
  afterEach(async () => {
    await database.query('DROP TABLE IF EXISTS fruit, schema_version');
  });

  const make: Migration = {
    version: 1,
    title: 'fruit',
    statements: ['CREATE TABLE fruit (name text PRIMARY KEY)', `INSERT INTO fruit VALUES ('apple')`],
  };
  const colour: Migration = {
    version: 2,
    title: 'colour',
    statements: [`ALTER TABLE fruit ADD COLUMN colour text NOT NULL DEFAULT 'green'`],
  };
  const broken: Migration = {
    version: 2,
    title: 'broken in its second statement',
    statements: [`INSERT INTO fruit VALUES ('pear')`, 'ALTER TABLE absent ADD COLUMN x text'],
  };

  test('runs what is missing, once', async () => {
    expect(await migrate(database, [make])).toEqual({ from: 0, to: 1 });
    expect(await migrate(database, [make, colour])).toEqual({ from: 1, to: 2 });
    expect(await migrate(database, [make, colour])).toEqual({ from: 2, to: 2 });
    expect(await database.query('SELECT * FROM fruit')).toEqual([{ name: 'apple', colour: 'green' }]);
  });

  test('a migration that fails leaves nothing of itself, and the next start goes on from there', async () => {
    await migrate(database, [make]);
    await expect(migrate(database, [make, broken])).rejects.toThrow(/absent/);
    expect(await database.query('SELECT name FROM fruit')).toEqual([{ name: 'apple' }]);
    expect(await migrate(database, [make, colour])).toEqual({ from: 1, to: 2 });
  });

  test('a store that a newer Muster wrote is refused plainly', async () => {
    await migrate(database, [make, colour]);
    await expect(migrate(database, [make])).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringMatching(/version 2, .* up to 1 only\. Start the newer Muster/),
    });
  });

  test('the batches of an older store are found by their input, whatever words describe them', async () => {
    const old = await openPglite(join(folder, 'batches'));
    await migrate(
      old,
      migrations.filter(({ version }) => version <= 4),
    );
    const words = { input_file_id: 'file-other', x: '"input_file_id":"file-other"\0' };
    const batch = { id: 'batch_1', input_file_id: 'file-a', metadata: words };
    await old.query('INSERT INTO batches VALUES ($1, $2, $3, $4, $5, $6)', [
      ...['batch_1', 't', '{}', JSON.stringify(batch), 'in_progress', 1],
    ]);
    await migrate(old, migrations);
    expect(await old.query('SELECT id, input_file_id FROM batches')).toEqual([
      { id: 'batch_1', input_file_id: 'file-a' },
    ]);
    await old.close();
  });

  test('migrations must be numbered without gaps', async () => {
    await expect(migrate(database, [colour])).rejects.toThrow(/stands where 1 belongs/);
  });
});

// The oldest, and the last but one: making a store takes seconds.
test.each([1, migrations.length - 1])(
  'released version %i, with data in it, is brought to the newest',
  async (version) => {
    const place = join(folder, `released-${version}`);
    const database = await openPglite(place);
    await migrate(database, migrations.slice(0, version));
    await database.query(
      `INSERT INTO inference_services (namespace, name, generation, phase, object, status)
     VALUES ('default', 'iris', 4, 'Ready', $1, $2)`,
      [JSON.stringify(service('iris')), JSON.stringify({ observedGeneration: 4 })],
    );
    await database.query(
      `INSERT INTO serving_runtimes VALUES ('', 'old', '{"kind":"ClusterServingRuntime"}')`,
    );
    await database.query(
      `INSERT INTO revisions VALUES ('default', 'iris', 'iris-predictor-00004', 4, '{"generation":4}')`,
    );
    await database.close();

    const store = await openStore({ folder: place });
    try {
      expect(store.migrated).toEqual({ from: version, to: migrations.length });
      expect(await store.services.get('default', 'iris')).toMatchObject({
        generation: 4,
        phase: 'Ready',
        object: { metadata: { name: 'iris' }, status: { observedGeneration: 4 } },
      });
      expect(await store.records.revisions('default', 'iris')).toEqual([{ generation: 4 }]);
      // Runtimes of version 1 count as the first change; later ones were counted as they came.
      expect(await store.runtimes.version()).toBe(version === 1 ? 1 : 0);
      expect(await store.access.keys()).toEqual([]);
      expect(await store.access.policy()).toBeNull();
      expect(await store.routing.version()).toEqual({ version: 0, contentHash: '' });
    } finally {
      await store.close();
    }
  },
);
