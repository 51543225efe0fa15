import { MusterError } from '../../domain/errors.ts';
import type { Database, Queries } from './database.ts';

export interface Migration {
  /** 1, 2, 3, … without gaps. */
  readonly version: number;
  readonly title: string;
  readonly statements: readonly string[];
}

/**
 * Brings a store to the newest shape, each migration in its own transaction together with the note that it was done:
 * a process killed in between leaves the store at a whole version, and the next start goes on from there.
 *
 * @returns the versions before and after
 * @throws MusterError conflict when a newer Muster has written the store
 */
export async function migrate(
  database: Database,
  migrations: readonly Migration[],
): Promise<{ readonly from: number; readonly to: number }> {
  for (const [index, migration] of migrations.entries()) {
    if (migration.version !== index + 1) {
      throw new MusterError('internal', `Migration ${migration.version} stands where ${index + 1} belongs.`);
    }
  }
  await database.query(
    'CREATE TABLE IF NOT EXISTS schema_version (version integer PRIMARY KEY, title text NOT NULL, applied_at text NOT NULL)',
  );
  const from = await currentVersion(database);
  if (from > migrations.length) {
    throw new MusterError(
      'conflict',
      `The store has version ${from}, but this Muster knows versions up to ${migrations.length} only. ` +
        'Start the newer Muster that wrote it, or use another data folder (MUSTER_DATA_DIR).',
    );
  }
  for (const migration of migrations.slice(from)) {
    await database.transaction(async (queries) => {
      for (const statement of migration.statements) await queries.query(statement);
      await queries.query('INSERT INTO schema_version (version, title, applied_at) VALUES ($1, $2, $3)', [
        migration.version,
        migration.title,
        new Date().toISOString(),
      ]);
    });
  }
  return { from, to: migrations.length };
}

async function currentVersion(queries: Queries): Promise<number> {
  const rows = await queries.query(
    'SELECT coalesce(max(version), 0)::integer AS version FROM schema_version',
  );
  return Number(rows[0]?.['version'] ?? 0);
}
