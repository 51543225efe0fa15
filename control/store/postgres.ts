import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { MusterError } from '../../domain/errors.ts';
import type { Database, Queries, Row } from './database.ts';
import { sendable } from './database.ts';

/** Any number that other users of the database do not use for an advisory lock: 'muster' as a number. */
const lockKey = 0x6d_75_73_74;
const connectionsMax = 8;
const lockWaitMs = 2_000;
const lockPauseMs = 50;

export interface PostgresOptions {
  readonly url: string;
  /** Called when the connection that holds the lock is lost: another process may take the store then. */
  readonly onLockLost: (error: Error) => void;
}

/**
 * The production store. One connection holds an advisory lock for as long as the process lives, because the control
 * API keeps routes and reports in memory: a second one on the same database would not see the first one's.
 */
export async function openPostgres(options: PostgresOptions): Promise<Database> {
  const lock = new pg.Client({ connectionString: options.url, connectionTimeoutMillis: 5_000 });
  await lock.connect();
  let closing = false;
  lock.on('error', (error: Error) => {
    if (!closing) options.onLockLost(error);
  });
  if (!(await takeLock(lock))) {
    closing = true;
    await lock.end();
    throw new MusterError(
      'already_running',
      'The database of MUSTER_DATABASE_URL is in use by another control API. Stop that one first, or name another database.',
    );
  }
  const pool = new pg.Pool({
    connectionString: options.url,
    max: connectionsMax,
    connectionTimeoutMillis: 5_000,
    statement_timeout: 10_000,
  });
  // An idle connection that breaks is replaced by the pool; without a listener it would end the process.
  pool.on('error', () => undefined);
  return {
    query: async (sql, values) => (await pool.query<Row>(sql, sendable(values))).rows,
    transaction: (work) => inTransaction(pool, work),
    async close() {
      closing = true;
      await pool.end();
      // The server notices the end of a session a little later, and the next start may come at once.
      await lock.query('SELECT pg_advisory_unlock($1)', [lockKey]).catch(() => undefined);
      await lock.end();
    },
  };
}

/** A process that was killed holds its lock until the server finds its connection dead, so it is waited for a moment. */
async function takeLock(client: pg.Client): Promise<boolean> {
  const giveUpAt = performance.now() + lockWaitMs;
  for (;;) {
    const { rows } = await client.query<{ taken: boolean }>('SELECT pg_try_advisory_lock($1) AS taken', [
      lockKey,
    ]);
    if (rows[0]?.taken === true) return true;
    if (performance.now() >= giveUpAt) return false;
    await sleep(lockPauseMs);
  }
}

async function inTransaction<T>(pool: pg.Pool, work: (queries: Queries) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let broken = false;
  try {
    await client.query('BEGIN');
    const result = await work({
      query: async (sql, values) => (await client.query<Row>(sql, sendable(values))).rows,
    });
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {
      broken = true;
    });
    throw error;
  } finally {
    client.release(broken);
  }
}
