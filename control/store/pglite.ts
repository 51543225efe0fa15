import { mkdir } from 'node:fs/promises';
import { PGlite } from '@electric-sql/pglite';
import type { Database, Queries, Row } from './database.ts';
import { sendable } from './database.ts';

/**
 * The embedded store: PGlite (Postgres compiled to WebAssembly) in this process, its files in one folder. Only one
 * process may have a folder open; PGlite does not check that, so the caller holds the folder's lock.
 */
export async function openPglite(folder: string): Promise<Database> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const pglite = await PGlite.create(folder);
  return {
    query: async (sql, values) => (await pglite.query<Row>(sql, sendable(values))).rows,
    transaction: (work) =>
      pglite.transaction(async (transaction) => {
        const queries: Queries = {
          query: async (sql, values) => (await transaction.query<Row>(sql, sendable(values))).rows,
        };
        return await work(queries);
      }),
    close: () => pglite.close(),
  };
}
