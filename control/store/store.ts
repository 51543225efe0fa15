import { MusterError } from '../../domain/errors.ts';
import type { Access } from './access.ts';
import { accessIn } from './access.ts';
import type { Batches } from './batches.ts';
import { batchesIn } from './batches.ts';
import type { Database, ObserveLatency } from './database.ts';
import { observed } from './database.ts';
import { storeFailure } from './failure.ts';
import type { FolderLock } from './folder-lock.ts';
import { lockFolder } from './folder-lock.ts';
import type { Ledger } from './ledger.ts';
import { ledgerIn } from './ledger.ts';
import type { Migration } from './migrate.ts';
import { migrate } from './migrate.ts';
import { migrations as released } from './migrations.ts';
import { openPglite } from './pglite.ts';
import { openPostgres } from './postgres.ts';
import type { Records } from './records.ts';
import { recordsIn } from './records.ts';
import type { Routing } from './routing.ts';
import { routingIn } from './routing.ts';
import type { Runtimes } from './runtimes.ts';
import { runtimesIn } from './runtimes.ts';
import type { Services } from './services.ts';
import { servicesIn } from './services.ts';

/** All that Muster remembers outside of Temporal; opened by the control API alone. */
export interface Store {
  readonly services: Services;
  readonly runtimes: Runtimes;
  readonly records: Records;
  readonly routing: Routing;
  readonly access: Access;
  readonly batches: Batches;
  readonly ledger: Ledger;
  /** The versions before and after this start. */
  readonly migrated: { readonly from: number; readonly to: number };
  close(): Promise<void>;
}

export interface StoreOptions {
  /** Folder of the embedded store. */
  readonly folder: string;
  /** Postgres in its place. */
  readonly databaseUrl?: string | undefined;
  readonly observe?: ObserveLatency;
  /** Called when the store cannot be used any more: the process should say so and end. */
  readonly onBroken?: (error: MusterError) => void;
  readonly migrations?: readonly Migration[];
}

/**
 * Opens the store, takes its lock and brings it to the newest shape.
 *
 * @throws MusterError already_running, conflict (a newer Muster wrote it), disk_full, or internal with a plain sentence
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  const onBroken = options.onBroken ?? (() => undefined);
  const lock = options.databaseUrl === undefined ? lockFolder(`${options.folder}.lock`) : null;
  try {
    const raw = await openDatabase(options, onBroken);
    const database = observed(raw, options.observe ?? (() => undefined), (cause) => {
      const { error, fatal } = storeFailure(cause);
      if (fatal) onBroken(error);
      return error;
    });
    try {
      return await assemble(database, options.migrations ?? released, lock);
    } catch (error) {
      await raw.close().catch(() => undefined);
      throw error;
    }
  } catch (error) {
    lock?.release();
    throw error;
  }
}

async function openDatabase(
  options: StoreOptions,
  onBroken: (error: MusterError) => void,
): Promise<Database> {
  try {
    if (options.databaseUrl === undefined) return await openPglite(options.folder);
    return await openPostgres({
      url: options.databaseUrl,
      onLockLost: (cause) => {
        onBroken(new MusterError('internal', 'The connection that holds the store was lost.', { cause }));
      },
    });
  } catch (cause) {
    const { error } = storeFailure(cause);
    if (error.code !== 'internal') throw error;
    const words = cause instanceof Error ? cause.message.split('\n')[0] : String(cause);
    throw new MusterError(
      'internal',
      options.databaseUrl === undefined
        ? `The store in ${options.folder} cannot be opened (${words ?? ''}). Its files may be damaged: move the folder away to begin anew, or restore a copy.`
        : `The database of MUSTER_DATABASE_URL cannot be opened (${words ?? ''}).`,
      { cause },
    );
  }
}

async function assemble(
  database: Database,
  migrations: readonly Migration[],
  lock: FolderLock | null,
): Promise<Store> {
  const migrated = await migrate(database, migrations);
  return {
    services: servicesIn(database),
    runtimes: runtimesIn(database),
    records: recordsIn(database),
    routing: routingIn(database),
    access: accessIn(database),
    batches: batchesIn(database),
    ledger: ledgerIn(database),
    migrated,
    async close() {
      await database.close();
      lock?.release();
    },
  };
}
