import { z } from 'zod';
import { AccessKey, Rights } from '../access/access-policy.schema.ts';

/** API keys on the control API: what is asked for, what is answered. The key itself is in one answer, once. */
const secondsMax = 10 * 366 * 24 * 3600;

export const NewKey = Rights.extend({
  name: AccessKey.shape.name.unwrap().min(1),
  expiresAt: AccessKey.shape.expiresAt,
  /** In place of `expiresAt`: seconds from now. */
  ttlSeconds: z.int().min(1).max(secondsMax).optional(),
}).refine(({ expiresAt, ttlSeconds }) => expiresAt === null || ttlSeconds === undefined, {
  path: ['ttlSeconds'],
  message: 'give either expiresAt or ttlSeconds, not both',
});
export type NewKey = z.infer<typeof NewKey>;

export const RotateKey = z.strictObject({
  /** How long the old key still works beside the new one. */
  graceSeconds: z.int().min(0).max(secondsMax).default(0),
});

/** A key as it is listed: nothing of it can open anything. */
export const KeyRecord = AccessKey.omit({ sha256: true }).extend({
  createdAt: z.string(),
  expiresAt: z.string().nullable(),
  revokedAt: z.string().nullable(),
  /** Id of the key that this one took the place of. */
  rotatedFrom: z.string().nullable(),
  state: z.enum(['active', 'expired', 'revoked']),
});
export type KeyRecord = z.infer<typeof KeyRecord>;

export const CreatedKey = KeyRecord.extend({
  /** The whole key, shown this once: only its SHA-256 is kept. */
  key: z.string(),
});
export type CreatedKey = z.infer<typeof CreatedKey>;

/** Newest first. */
export const KeyList = z.object({ items: z.array(KeyRecord) });
export type KeyList = z.infer<typeof KeyList>;
