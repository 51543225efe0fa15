import type { InferenceService } from '../../domain/inference-service/inference-service.schema.ts';
import type { Database, Queries, Row } from './database.ts';

export interface StoredService {
  readonly object: InferenceService;
  readonly phase: string;
  readonly generation: number;
}

export interface Accepted {
  /** The object that the workflow took. */
  readonly object: InferenceService;
  readonly generation: number;
  /** The generation that was stored when the change was sent; a workflow that answers with less began anew. */
  readonly generationBefore: number;
}

export interface Services {
  list(namespace?: string): Promise<StoredService[]>;
  get(namespace: string, name: string): Promise<StoredService | null>;
  /** What the workflow says of its service. False when a newer generation is stored, and nothing was written. */
  publish(object: InferenceService, phase: string): Promise<boolean>;
  /** What a workflow just accepted, so that a read after the write sees it; the status stays as it was. */
  accept(accepted: Accepted): Promise<StoredService>;
  /** Notes that deletion is under way; null when the service is gone already. */
  markDeleting(namespace: string, name: string, time: string): Promise<StoredService | null>;
  /** Removes the service, its events and its history. */
  forget(namespace: string, name: string): Promise<void>;
}

const columns = 'generation, phase, object, status';
const whereKey = 'WHERE namespace = $1 AND name = $2';

export function servicesIn(database: Database): Services {
  return {
    async list(namespace) {
      const rows = await database.query(
        `SELECT ${columns} FROM inference_services WHERE $1::text IS NULL OR namespace = $1 ORDER BY namespace, name`,
        [namespace ?? null],
      );
      return rows.map(serviceOf);
    },
    get: (namespace, name) => read(database, namespace, name),
    publish: (object, phase) =>
      database.transaction(async (queries) => {
        const stored = await readLockedOf(queries, object);
        const generation = object.metadata.generation ?? 0;
        if (stored !== null && stored.generation > generation) return false;
        await write(queries, { object: keepDeletion(object, stored), phase, generation });
        return true;
      }),
    accept: (accepted) => database.transaction((queries) => accept(queries, accepted)),
    markDeleting: (namespace, name, time) =>
      database.transaction(async (queries) => {
        const stored = await readLocked(queries, namespace, name);
        if (stored === null) return null;
        const { object } = stored;
        const metadata = { ...object.metadata, deletionTimestamp: deletionOf(object) ?? time };
        const deleting = { ...stored, object: { ...object, metadata }, phase: 'Deleting' };
        await write(queries, deleting);
        return deleting;
      }),
    forget: (namespace, name) =>
      database.transaction(async (queries) => {
        for (const table of ['inference_services', 'events', 'revisions']) {
          await queries.query(`DELETE FROM ${table} ${whereKey}`, [namespace, name]);
        }
      }),
  };
}

/** The time when deletion of an object began, or undefined. */
export function deletionOf(object: InferenceService): string | undefined {
  const time = object.metadata['deletionTimestamp'];
  return typeof time === 'string' ? time : undefined;
}

async function accept(queries: Queries, accepted: Accepted): Promise<StoredService> {
  const { object, generation, generationBefore } = accepted;
  const stored = await readLockedOf(queries, object);
  const beganAnew = generation < generationBefore;
  if (stored !== null && stored.generation > generation && !beganAnew) return stored;
  const status = stored?.object.status ?? object.status;
  const next: StoredService = {
    object: keepDeletion({ ...object, ...(status === undefined ? {} : { status }) }, stored),
    phase: stored?.phase ?? 'Pending',
    generation,
  };
  await write(queries, next);
  return next;
}

/** Workflows do not write the time of deletion, so what is stored of it stays. */
function keepDeletion(object: InferenceService, stored: StoredService | null): InferenceService {
  const time = stored === null ? undefined : deletionOf(stored.object);
  return time === undefined
    ? object
    : { ...object, metadata: { ...object.metadata, deletionTimestamp: time } };
}

function readLockedOf(queries: Queries, { metadata }: InferenceService): Promise<StoredService | null> {
  return readLocked(queries, metadata.namespace ?? 'default', metadata.name);
}

/** One writer of a service at a time until the transaction ends. A lock on the row would not do: it may be absent yet. */
async function readLocked(queries: Queries, namespace: string, name: string): Promise<StoredService | null> {
  await queries.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [`${namespace}/${name}`]);
  return await read(queries, namespace, name);
}

async function read(queries: Queries, namespace: string, name: string): Promise<StoredService | null> {
  const rows = await queries.query(`SELECT ${columns} FROM inference_services ${whereKey}`, [
    namespace,
    name,
  ]);
  return rows[0] === undefined ? null : serviceOf(rows[0]);
}

async function write(queries: Queries, service: StoredService): Promise<void> {
  const { status, ...object } = service.object;
  await queries.query(
    `INSERT INTO inference_services (namespace, name, generation, phase, object, status)
     VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (namespace, name) DO UPDATE SET
       generation = excluded.generation, phase = excluded.phase, object = excluded.object, status = excluded.status`,
    [
      object.metadata.namespace ?? 'default',
      object.metadata.name,
      service.generation,
      service.phase,
      JSON.stringify(object),
      status === undefined ? null : JSON.stringify(status),
    ],
  );
}

function serviceOf(row: Row): StoredService {
  const object = row['object'] as InferenceService;
  const status = row['status'] as InferenceService['status'] | null;
  return {
    object: status === null || status === undefined ? object : { ...object, status },
    phase: String(row['phase']),
    generation: Number(row['generation']),
  };
}
