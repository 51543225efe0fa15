import { endedStatuses } from '../../domain/batch/batch.schema.ts';
import type { Batch, BatchLines, BatchResult, StoredFile } from '../../domain/batch/batch.schema.ts';
import type { Database, Queries } from './database.ts';

/** Files and batches: who owns them, what became of each line. The bytes of files lie beside the store. */
export interface FileRecord {
  readonly tenant: string;
  readonly file: StoredFile;
}

export interface BatchRecord {
  readonly tenant: string;
  readonly caller: BatchLines['caller'];
  readonly batch: Batch;
}

export interface Page {
  /** Id of the last one of the page before. */
  readonly after: string | undefined;
  readonly limit: number;
  readonly order: 'asc' | 'desc';
}

export interface Batches {
  putFile(record: FileRecord): Promise<void>;
  file(id: string): Promise<FileRecord | null>;
  files(tenant: string, page: Page, purpose?: string): Promise<StoredFile[]>;
  /** Files whose time is over, in Unix seconds, and which no open batch reads. */
  filesExpiredAt(seconds: number): Promise<string[]>;
  /** @returns false when it was not there, or an open batch reads it: that one could never end without it */
  removeFile(id: string): Promise<boolean>;
  /** The batch that has not ended and reads this file. */
  openBatchOf(fileId: string): Promise<string | null>;
  /** Of all files, or of one owner's. */
  filesBytes(tenant?: string): Promise<number>;
  addBatch(record: BatchRecord): Promise<void>;
  removeBatch(id: string): Promise<void>;
  batch(id: string): Promise<BatchRecord | null>;
  batches(tenant: string, page: Page): Promise<BatchRecord[]>;
  /** Those that have not ended. */
  openBatches(): Promise<BatchRecord[]>;
  /** Changes a batch by a rule, one change at a time. @returns the batch, null when there is none */
  changeBatch(id: string, change: (batch: Batch) => Batch): Promise<BatchRecord | null>;
  /** A line that has a result keeps its first; a batch whose files are written, or are being written, takes none. */
  addResults(batchId: string, results: readonly BatchResult[]): Promise<void>;
  /** Lines in [from, to) that have a result. */
  answeredLines(batchId: string, from: number, to: number): Promise<Set<number>>;
  counts(batchId: string): Promise<{ readonly completed: number; readonly failed: number }>;
  results(batchId: string, from: number, to: number): Promise<BatchResult[]>;
  /** The batch's end: its files are there, its lines are not needed any more. */
  closeBatch(id: string, batch: Batch, files: readonly FileRecord[]): Promise<void>;
}

const isOpen = `status NOT IN (${endedStatuses.map((status) => `'${status}'`).join(', ')})`;
/** FOR SHARE beside it waits for a change of the status that is under way: no result slips in behind it. */
const takesResults = `${isOpen} AND status <> 'finalizing'`;
const isUnread = `NOT EXISTS
  (SELECT 1 FROM batches WHERE batches.${isOpen} AND batches.input_file_id = files.id)`;

const asFile = (row: Readonly<Record<string, unknown>>): FileRecord => ({
  tenant: String(row['tenant']),
  file: row['object'] as StoredFile,
});
const asBatch = (row: Readonly<Record<string, unknown>>): BatchRecord => ({
  tenant: String(row['tenant']),
  caller: row['caller'] as BatchLines['caller'],
  batch: row['object'] as Batch,
});

export function batchesIn(database: Database): Batches {
  const one = async (table: string, id: string) =>
    (await database.query(`SELECT * FROM ${table} WHERE id = $1`, [id]))[0];
  return {
    putFile: (record) => putFile(database, record),
    async file(id) {
      const row = await one('files', id);
      return row === undefined ? null : asFile(row);
    },
    async files(tenant, page, purpose) {
      const rows = await database.query(
        pageOf('files', page, purpose === undefined ? '' : 'AND purpose = $4'),
        [tenant, page.after ?? '', page.limit, ...(purpose === undefined ? [] : [purpose])],
      );
      return rows.map((row) => asFile(row).file);
    },
    async filesExpiredAt(seconds) {
      const rows = await database.query(
        `SELECT id FROM files WHERE expires_at <= $1 AND ${isUnread} LIMIT 1000`,
        [seconds],
      );
      return rows.map((row) => String(row['id']));
    },
    async removeFile(id) {
      const sql = `DELETE FROM files WHERE id = $1 AND ${isUnread} RETURNING id`;
      return (await database.query(sql, [id])).length > 0;
    },
    async openBatchOf(fileId) {
      const sql = `SELECT id FROM batches WHERE ${isOpen} AND input_file_id = $1 LIMIT 1`;
      const [row] = await database.query(sql, [fileId]);
      return row === undefined ? null : String(row['id']);
    },
    async filesBytes(tenant) {
      const rows = await database.query(
        `SELECT coalesce(sum(bytes), 0)::bigint AS bytes FROM files ${tenant === undefined ? '' : 'WHERE tenant = $1'}`,
        tenant === undefined ? [] : [tenant],
      );
      return Number(rows[0]?.['bytes'] ?? 0);
    },
    async addBatch({ tenant, caller, batch }) {
      await database.query(
        `INSERT INTO batches (id, tenant, caller, object, status, created_at, input_file_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7)`,
        [
          ...[
            batch.id,
            tenant,
            JSON.stringify(caller),
            JSON.stringify(batch),
            batch.status,
            batch.created_at,
          ],
          batch.input_file_id,
        ],
      );
    },
    async removeBatch(id) {
      await database.query('DELETE FROM batches WHERE id = $1', [id]);
    },
    async batch(id) {
      const row = await one('batches', id);
      return row === undefined ? null : asBatch(row);
    },
    async batches(tenant, page) {
      const rows = await database.query(pageOf('batches', page, ''), [tenant, page.after ?? '', page.limit]);
      return rows.map(asBatch);
    },
    async openBatches() {
      const rows = await database.query(`SELECT * FROM batches WHERE ${isOpen} ORDER BY id`);
      return rows.map(asBatch);
    },
    changeBatch: (id, change) => changeBatch(database, id, change),
    async addResults(batchId, results) {
      for (const { line, ok, text } of results) {
        await database.query(
          `INSERT INTO batch_results (batch_id, line, ok, text)
           SELECT $1::text, $2::integer, $3::boolean, $4::text
           FROM (SELECT 1 FROM batches WHERE id = $1 AND ${takesResults} FOR SHARE) AS open
           ON CONFLICT DO NOTHING`,
          [batchId, line, ok, text],
        );
      }
    },
    async answeredLines(batchId, from, to) {
      const rows = await database.query(
        'SELECT line FROM batch_results WHERE batch_id = $1 AND line >= $2 AND line < $3',
        [batchId, from, to],
      );
      return new Set(rows.map((row) => Number(row['line'])));
    },
    async counts(batchId) {
      const rows = await database.query(
        `SELECT count(*) FILTER (WHERE ok)::integer AS completed, count(*) FILTER (WHERE NOT ok)::integer AS failed
         FROM batch_results WHERE batch_id = $1`,
        [batchId],
      );
      return { completed: Number(rows[0]?.['completed'] ?? 0), failed: Number(rows[0]?.['failed'] ?? 0) };
    },
    async results(batchId, from, to) {
      const rows = await database.query(
        'SELECT line, ok, text FROM batch_results WHERE batch_id = $1 AND line >= $2 AND line < $3 ORDER BY line',
        [batchId, from, to],
      );
      return rows.map((row) => ({
        line: Number(row['line']),
        ok: row['ok'] === true,
        text: String(row['text']),
      }));
    },
    async closeBatch(id, batch, files) {
      await database.transaction(async (queries) => {
        for (const record of files) await putFile(queries, record);
        await putBatch(queries, id, batch);
        await queries.query('DELETE FROM batch_results WHERE batch_id = $1', [id]);
      });
    },
  };
}

/** Ids grow with time, so a page is a range of ids. */
function pageOf(table: 'files' | 'batches', { order }: Page, more: string): string {
  const beyond = order === 'asc' ? 'id > $2' : `($2 = '' OR id < $2)`;
  return `SELECT * FROM ${table} WHERE tenant = $1 AND ${beyond} ${more} ORDER BY id ${order} LIMIT $3`;
}

async function putFile(queries: Queries, { tenant, file }: FileRecord): Promise<void> {
  await queries.query(
    `INSERT INTO files (id, tenant, object, purpose, bytes, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (id) DO UPDATE SET object = excluded.object, bytes = excluded.bytes`,
    [file.id, tenant, JSON.stringify(file), file.purpose, file.bytes, file.expires_at ?? null],
  );
}

async function putBatch(queries: Queries, id: string, batch: Batch): Promise<void> {
  await queries.query('UPDATE batches SET object = $2, status = $3 WHERE id = $1', [
    id,
    JSON.stringify(batch),
    batch.status,
  ]);
}

async function changeBatch(
  database: Database,
  id: string,
  change: (batch: Batch) => Batch,
): Promise<BatchRecord | null> {
  return database.transaction(async (queries) => {
    const [row] = await queries.query('SELECT * FROM batches WHERE id = $1 FOR UPDATE', [id]);
    if (row === undefined) return null;
    const record = asBatch(row);
    const batch = change(record.batch);
    if (batch !== record.batch) await putBatch(queries, id, batch);
    return { ...record, batch };
  });
}
