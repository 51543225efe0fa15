import type { ListedEvent } from '../../domain/control/records.schema.ts';
import type { EventRecord, RevisionRecord } from '../../domain/inference-service/messages.ts';
import type { Database, Queries, Row } from './database.ts';
import { withoutNul } from './database.ts';

/** How many are kept of each service; the oldest go first. */
export const eventsMax = 200;
export const revisionsMax = 100;

export interface Records {
  /** Adds an event; one that equals the newest is counted, one that was recorded before (a repeated call) is not. */
  addEvent(event: EventRecord): Promise<void>;
  /** Newest first. */
  events(namespace: string, name: string): Promise<ListedEvent[]>;
  /** Writes what happened to a revision, over what was known of it before. */
  putRevision(record: RevisionRecord): Promise<void>;
  /** Newest first. */
  revisions(namespace: string, name: string): Promise<RevisionRecord[]>;
  /** Removes what is left of services that are gone: a record may come in after its service was forgotten. */
  sweep(): Promise<void>;
}

const whereKey = 'WHERE namespace = $1 AND name = $2';

export function recordsIn(database: Database): Records {
  return {
    addEvent: (event) => database.transaction((queries) => addEvent(queries, event)),
    async events(namespace, name) {
      const rows = await database.query(`SELECT * FROM events ${whereKey} ORDER BY id DESC`, [
        namespace,
        name,
      ]);
      return rows.map(eventOf);
    },
    putRevision: (record) =>
      database.transaction(async (queries) => {
        const key = [record.namespace, record.name];
        await queries.query(
          `INSERT INTO revisions (namespace, name, revision, generation, record) VALUES ($1, $2, $3, $4, $5)
           ON CONFLICT (namespace, name, revision) DO UPDATE SET
             generation = excluded.generation, record = excluded.record`,
          [...key, record.revision, record.generation, JSON.stringify(record)],
        );
        await queries.query(
          `DELETE FROM revisions ${whereKey} AND revision NOT IN (
             SELECT revision FROM revisions ${whereKey} ORDER BY generation DESC, revision DESC LIMIT ${revisionsMax})`,
          key,
        );
      }),
    async revisions(namespace, name) {
      const rows = await database.query(
        `SELECT record FROM revisions ${whereKey} ORDER BY generation DESC, revision DESC`,
        [namespace, name],
      );
      return rows.map((row) => row['record'] as RevisionRecord);
    },
    async sweep() {
      for (const table of ['events', 'revisions']) {
        await database.query(
          `DELETE FROM ${table} AS record WHERE NOT EXISTS (
             SELECT 1 FROM inference_services AS service
             WHERE service.namespace = record.namespace AND service.name = record.name)`,
        );
      }
    },
  };
}

async function addEvent(queries: Queries, event: EventRecord): Promise<void> {
  const key = [event.namespace, event.name];
  const known = await queries.query(
    `SELECT id, type, reason, message, last_time FROM events ${whereKey} ORDER BY id DESC`,
    key,
  );
  // As the database has it: compared with the raw text, a message with a NUL would never equal itself.
  const message = withoutNul(event.message);
  const equal = (row: Row): boolean =>
    row['type'] === event.type && row['reason'] === event.reason && row['message'] === message;
  if (known.some((row) => equal(row) && row['last_time'] === event.time)) return;
  const newest = known[0];
  if (newest !== undefined && equal(newest)) {
    await queries.query('UPDATE events SET count = count + 1, last_time = $2 WHERE id = $1', [
      newest['id'],
      event.time,
    ]);
    return;
  }
  await queries.query(
    `INSERT INTO events (namespace, name, type, reason, message, count, first_time, last_time)
     VALUES ($1, $2, $3, $4, $5, 1, $6, $6)`,
    [...key, event.type, event.reason, message, event.time],
  );
  await queries.query(
    `DELETE FROM events ${whereKey} AND id NOT IN (
       SELECT id FROM events ${whereKey} ORDER BY id DESC LIMIT ${eventsMax})`,
    key,
  );
}

function eventOf(row: Row): ListedEvent {
  return {
    namespace: String(row['namespace']),
    name: String(row['name']),
    type: row['type'] === 'Warning' ? 'Warning' : 'Normal',
    reason: String(row['reason']),
    message: String(row['message']),
    count: Number(row['count']),
    firstTime: String(row['first_time']),
    lastTime: String(row['last_time']),
  };
}
