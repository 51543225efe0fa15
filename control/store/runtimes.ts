import type {
  ClusterServingRuntime,
  RuntimeLists,
  ServingRuntime,
} from '../../domain/serving-runtime/serving-runtime.schema.ts';
import type { Database, Queries } from './database.ts';

export type AnyRuntime = ServingRuntime | ClusterServingRuntime;
export type RuntimeOutcome = 'created' | 'configured' | 'unchanged';

export interface Runtimes {
  /** The cluster's runtimes, and those of one namespace or of all. */
  lists(namespace?: string): Promise<RuntimeLists>;
  /** @param namespace null: a ClusterServingRuntime */
  get(namespace: string | null, name: string): Promise<AnyRuntime | null>;
  put(runtime: AnyRuntime): Promise<RuntimeOutcome>;
  remove(namespace: string | null, name: string): Promise<boolean>;
  /** Grows with each change of a runtime. */
  version(): Promise<number>;
  /** Hash of each stock runtime as it was last brought in, by name; also of those that a user deleted since. */
  stock(): Promise<ReadonlyMap<string, string>>;
  noteStock(name: string, hash: string): Promise<void>;
}

const whereKey = 'WHERE namespace = $1 AND name = $2';

export function runtimesIn(database: Database): Runtimes {
  return {
    async lists(namespace) {
      const rows = await database.query(
        `SELECT namespace, object FROM serving_runtimes
         WHERE namespace = '' OR $1::text IS NULL OR namespace = $1 ORDER BY namespace, name`,
        [namespace ?? null],
      );
      return {
        servingRuntimes: rows
          .filter((row) => row['namespace'] !== '')
          .map((row) => row['object'] as ServingRuntime),
        clusterServingRuntimes: rows
          .filter((row) => row['namespace'] === '')
          .map((row) => row['object'] as ClusterServingRuntime),
      };
    },
    get: (namespace, name) => read(database, namespace ?? '', name),
    put: (runtime) =>
      database.transaction(async (queries) => {
        const namespace = runtime.kind === 'ServingRuntime' ? (runtime.metadata.namespace ?? 'default') : '';
        const stored = await read(queries, namespace, runtime.metadata.name);
        const text = JSON.stringify(runtime);
        if (stored !== null && JSON.stringify(stored) === text) return 'unchanged';
        await queries.query(
          `INSERT INTO serving_runtimes (namespace, name, object) VALUES ($1, $2, $3)
           ON CONFLICT (namespace, name) DO UPDATE SET object = excluded.object`,
          [namespace, runtime.metadata.name, text],
        );
        await grow(queries);
        return stored === null ? 'created' : 'configured';
      }),
    remove: (namespace, name) =>
      database.transaction(async (queries) => {
        const rows = await queries.query(`DELETE FROM serving_runtimes ${whereKey} RETURNING name`, [
          namespace ?? '',
          name,
        ]);
        if (rows.length > 0) await grow(queries);
        return rows.length > 0;
      }),
    async version() {
      const rows = await database.query('SELECT version FROM runtimes_version');
      return Number(rows[0]?.['version'] ?? 0);
    },
    async stock() {
      const rows = await database.query('SELECT name, hash FROM stock_runtimes');
      return new Map(rows.map((row) => [String(row['name']), String(row['hash'])]));
    },
    async noteStock(name, hash) {
      await database.query(
        `INSERT INTO stock_runtimes (name, hash) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET hash = excluded.hash`,
        [name, hash],
      );
    },
  };
}

async function read(queries: Queries, namespace: string, name: string): Promise<AnyRuntime | null> {
  const rows = await queries.query(`SELECT object FROM serving_runtimes ${whereKey}`, [namespace, name]);
  return (rows[0]?.['object'] as AnyRuntime | undefined) ?? null;
}

async function grow(queries: Queries): Promise<void> {
  await queries.query('UPDATE runtimes_version SET version = version + 1');
}
