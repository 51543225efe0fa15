import type { AccessKey } from '../../domain/access/access-policy.schema.ts';
import type { GatewayPolicyObject } from '../../domain/gateway-policy/gateway-policy-resource.schema.ts';
import type { Database, Queries, Row } from './database.ts';

/** How many keys that ended (revoked, expired) are remembered; the oldest go first. */
export const endedKeysMax = 1_000;

/** A key by its hash; times are UTC, so that their texts sort. */
export interface StoredKey extends AccessKey {
  readonly createdAt: string;
  readonly revokedAt: string | null;
  readonly rotatedFrom: string | null;
}

export interface Access {
  /** Newest first. */
  keys(): Promise<StoredKey[]>;
  key(id: string): Promise<StoredKey | null>;
  /** Like `endKey`, it forgets the oldest of the keys that ended. */
  addKey(key: StoredKey): Promise<void>;
  /** Writes when a key ends. */
  endKey(
    id: string,
    ends: { readonly expiresAt: string | null; readonly revokedAt: string | null },
    now: string,
  ): Promise<void>;
  policy(): Promise<GatewayPolicyObject | null>;
  putPolicy(policy: GatewayPolicyObject): Promise<void>;
  removePolicy(name: string): Promise<void>;
}

export function accessIn(database: Database): Access {
  return {
    async keys() {
      const rows = await database.query('SELECT * FROM api_keys ORDER BY created_at DESC, id');
      return rows.map(keyOf);
    },
    async key(id) {
      const [row] = await database.query('SELECT * FROM api_keys WHERE id = $1', [id]);
      return row === undefined ? null : keyOf(row);
    },
    addKey: (key) =>
      database.transaction(async (queries) => {
        const { id, sha256, createdAt, expiresAt, revokedAt, ...record } = key;
        await queries.query(
          `INSERT INTO api_keys (id, sha256, record, created_at, expires_at, revoked_at)
           VALUES ($1, $2, $3, $4, $5, $6)`,
          [id, sha256, JSON.stringify(record), createdAt, expiresAt, revokedAt],
        );
        await forgetEnded(queries, createdAt);
      }),
    endKey: (id, { expiresAt, revokedAt }, now) =>
      database.transaction(async (queries) => {
        await queries.query('UPDATE api_keys SET expires_at = $2, revoked_at = $3 WHERE id = $1', [
          id,
          expiresAt,
          revokedAt,
        ]);
        await forgetEnded(queries, now);
      }),
    async policy() {
      const rows = await database.query('SELECT object FROM gateway_policies ORDER BY name LIMIT 1');
      return (rows[0]?.['object'] as GatewayPolicyObject | undefined) ?? null;
    },
    async putPolicy(policy) {
      await database.query(
        `INSERT INTO gateway_policies (name, object) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET object = excluded.object`,
        [policy.metadata.name, JSON.stringify(policy)],
      );
    },
    async removePolicy(name) {
      await database.query('DELETE FROM gateway_policies WHERE name = $1', [name]);
    },
  };
}

async function forgetEnded(queries: Queries, now: string): Promise<void> {
  await queries.query(
    `DELETE FROM api_keys WHERE id IN (
       SELECT id FROM api_keys WHERE revoked_at IS NOT NULL OR expires_at <= $1
       ORDER BY coalesce(revoked_at, expires_at) DESC, id OFFSET ${endedKeysMax})`,
    [now],
  );
}

function keyOf(row: Row): StoredKey {
  return {
    ...(row['record'] as Omit<StoredKey, 'id' | 'sha256' | 'createdAt' | 'expiresAt' | 'revokedAt'>),
    id: String(row['id']),
    sha256: String(row['sha256']),
    createdAt: String(row['created_at']),
    expiresAt: textOrNull(row['expires_at']),
    revokedAt: textOrNull(row['revoked_at']),
  };
}

function textOrNull(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
