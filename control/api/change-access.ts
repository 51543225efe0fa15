import { createHash, randomBytes } from 'node:crypto';
import { keysMax } from '../../domain/access/access-policy.schema.ts';
import { keyBytes, makeKey } from '../../domain/access/key.ts';
import type { CreatedKey, KeyRecord, NewKey } from '../../domain/control/keys.schema.ts';
import { MusterError } from '../../domain/errors.ts';
import type { GatewayPolicyObject } from '../../domain/gateway-policy/gateway-policy-resource.schema.ts';
import type { StoredKey } from '../store/access.ts';
import type { ApiContext } from './deps.ts';
import { timeOf } from './deps.ts';
import { FieldsError } from './problem.ts';

/** Makes a key and publishes its hash. @returns its record and the key itself, which nobody can ask for again */
export async function createKey(context: ApiContext, wanted: NewKey): Promise<CreatedKey> {
  const { ttlSeconds, expiresAt, ...rest } = wanted;
  const expiry = ttlSeconds === undefined ? expiresAt : secondsFromNow(context, ttlSeconds);
  if (expiry !== null && Date.parse(expiry) <= context.now()) {
    throw new FieldsError([{ path: 'expiresAt', message: `expiresAt is ${expiry}, which is over already` }]);
  }
  return await add(context, { ...rest, expiresAt: utc(expiry), rotatedFrom: null });
}

/** Ends a key for good; a key that has ended stays as it is. @throws MusterError not_found */
export async function revokeKey(context: ApiContext, id: string): Promise<KeyRecord> {
  const key = await existingKey(context, id);
  if (key.revokedAt !== null) return recordOf(context, key);
  const revoked = { ...key, revokedAt: timeOf(context) };
  // Gateways know before the disk does.
  await Promise.all([context.access.endKey(revoked), context.routes.flush()]);
  return recordOf(context, revoked);
}

/**
 * Makes a key with the rights of another, which ends after a time of grace.
 * @throws MusterError not_found, or conflict when that key has ended already
 */
export async function rotateKey(context: ApiContext, id: string, graceSeconds: number): Promise<CreatedKey> {
  const old = await existingKey(context, id);
  if (stateOf(context, old) !== 'active') {
    throw new MusterError('conflict', `The key ${id} has ended; create a new one.`);
  }
  const created = await add(context, { ...old, rotatedFrom: old.id });
  const graceEnd = secondsFromNow(context, graceSeconds);
  const ends =
    graceSeconds === 0
      ? { revokedAt: timeOf(context) }
      : { expiresAt: old.expiresAt !== null && old.expiresAt < graceEnd ? old.expiresAt : graceEnd };
  await Promise.all([context.access.endKey({ ...old, ...ends }), context.routes.flush()]);
  return created;
}

/** Newest first. */
export async function listKeys(context: ApiContext, withEnded: boolean): Promise<KeyRecord[]> {
  const records = (await context.store.access.keys()).map((key) => recordOf(context, key));
  return withEnded ? records : records.filter(({ state }) => state === 'active');
}

/** @throws MusterError not_found */
export async function keyById(context: ApiContext, id: string): Promise<KeyRecord> {
  return recordOf(context, await existingKey(context, id));
}

export async function applyPolicy(
  context: ApiContext,
  given: GatewayPolicyObject,
): Promise<{
  readonly object: GatewayPolicyObject;
  readonly outcome: 'created' | 'configured' | 'unchanged';
}> {
  const written = given.spec.access?.keys?.length ?? 0;
  if (written + context.access.activeKeys > keysMax) {
    const message = `spec.access.keys has ${written} keys, and with those of the key store there would be more than ${keysMax}`;
    throw new FieldsError([{ path: 'spec.access.keys', message }]);
  }
  const previous = context.access.policyObject;
  const creationTimestamp = previous?.metadata.creationTimestamp ?? timeOf(context).replace(/\.\d+Z$/, 'Z');
  const object = { ...given, metadata: { ...given.metadata, creationTimestamp } };
  if (previous !== null && JSON.stringify(previous) === JSON.stringify(object))
    return { object, outcome: 'unchanged' };
  await context.access.putPolicy(object);
  await context.routes.flush();
  return { object, outcome: previous === null ? 'created' : 'configured' };
}

/** @returns what was removed @throws MusterError not_found */
export async function deletePolicy(context: ApiContext, name: string): Promise<GatewayPolicyObject> {
  const policy = existingPolicy(context, name);
  await context.access.removePolicy();
  await context.routes.flush();
  return policy;
}

/** @throws MusterError not_found */
export function existingPolicy(context: ApiContext, name: string): GatewayPolicyObject {
  const policy = context.access.policyObject;
  if (policy?.metadata.name === name) return policy;
  throw new MusterError(
    'not_found',
    `There is no GatewayPolicy ${name}. An installation has one at most, by the name default.`,
  );
}

async function add(
  context: ApiContext,
  wanted: Omit<StoredKey, 'id' | 'sha256' | 'createdAt' | 'revokedAt'>,
): Promise<CreatedKey> {
  const written = context.access.policyObject?.spec.access?.keys?.length ?? 0;
  if (written + context.access.activeKeys >= keysMax) {
    throw new MusterError('conflict', `There are ${keysMax} keys, which is the most: revoke some.`);
  }
  const { id, key } = makeKey(randomBytes(keyBytes.id + keyBytes.secret));
  const sha256 = createHash('sha256').update(key).digest('hex');
  const stored: StoredKey = { ...wanted, id, sha256, createdAt: timeOf(context), revokedAt: null };
  await context.access.addKey(stored);
  await context.routes.flush();
  return { ...recordOf(context, stored), key };
}

async function existingKey(context: ApiContext, id: string): Promise<StoredKey> {
  const key = await context.store.access.key(id);
  if (key !== null) return key;
  throw new MusterError('not_found', `There is no key ${id}. List them: muster key list --all`);
}

function recordOf(context: ApiContext, key: StoredKey): KeyRecord {
  const { sha256: _sha256, ...record } = key;
  return { ...record, state: stateOf(context, key) };
}

function stateOf(context: ApiContext, { revokedAt, expiresAt }: StoredKey): KeyRecord['state'] {
  if (revokedAt !== null) return 'revoked';
  return expiresAt !== null && Date.parse(expiresAt) <= context.now() ? 'expired' : 'active';
}

function secondsFromNow(context: ApiContext, seconds: number): string {
  return new Date(context.now() + seconds * 1000).toISOString();
}

function utc(time: string | null): string | null {
  return time === null ? null : new Date(time).toISOString();
}
