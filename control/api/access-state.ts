import type { Logger } from 'pino';
import type { AccessKey } from '../../domain/access/access-policy.schema.ts';
import { keysMax } from '../../domain/access/access-policy.schema.ts';
import type { GatewayPolicyObject } from '../../domain/gateway-policy/gateway-policy-resource.schema.ts';
import type { Access, StoredKey } from '../store/access.ts';

/** Longest wait for an expiry; setTimeout can do no more than 24 days. */
const napMs = 3_600_000;

export type PublishedPolicy = GatewayPolicyObject['spec'];

/**
 * What gateways are told of keys and policy, in memory: the keys that are good now, joined with the policy as it was
 * written. A key leaves at the moment that it is revoked or expires.
 */
export class AccessState {
  readonly #access: Access;
  readonly #log: Logger;
  readonly #now: () => number;
  /** Newest last; those that ended are not among them. */
  readonly #keys = new Map<string, StoredKey>();
  readonly #listeners: (() => void)[] = [];
  #policy: GatewayPolicyObject | null = null;
  #timer: NodeJS.Timeout | null = null;

  private constructor(access: Access, log: Logger, now: () => number) {
    this.#access = access;
    this.#log = log;
    this.#now = now;
  }

  static async load(access: Access, log: Logger, now: () => number): Promise<AccessState> {
    const state = new AccessState(access, log, now);
    const keys = await access.keys();
    for (const key of keys.reverse()) if (key.revokedAt === null) state.#keys.set(key.id, key);
    state.#policy = await access.policy();
    state.#dropExpired();
    state.#wakeAtExpiry();
    return state;
  }

  /** Called when what gateways are told has changed. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  get policyObject(): GatewayPolicyObject | null {
    return this.#policy;
  }

  get activeKeys(): number {
    this.#dropExpired();
    return this.#keys.size;
  }

  /** The `policy` of a route table; undefined when there is nothing to tell. */
  published(): PublishedPolicy | undefined {
    this.#dropExpired();
    const spec = this.#policy?.spec;
    if (this.#keys.size === 0 && spec?.access?.keys === undefined) return spec;
    return this.#withKeys(spec ?? {});
  }

  async addKey(key: StoredKey): Promise<void> {
    await this.#access.addKey(key);
    this.#keys.set(key.id, key);
    this.#changed();
  }

  /**
   * Ends a key, or lets it end earlier. It is out of the table before it is out of the store: a full disk must not
   * keep a stolen key alive.
   * @throws MusterError when the store failed; until a restart the key is ended all the same
   */
  async endKey(key: StoredKey): Promise<void> {
    if (key.revokedAt === null) this.#keys.set(key.id, key);
    else this.#keys.delete(key.id);
    this.#changed();
    await this.#access.endKey(key.id, key, new Date(this.#now()).toISOString());
  }

  async putPolicy(policy: GatewayPolicyObject): Promise<void> {
    await this.#access.putPolicy(policy);
    this.#policy = policy;
    this.#changed();
  }

  async removePolicy(): Promise<void> {
    if (this.#policy !== null) await this.#access.removePolicy(this.#policy.metadata.name);
    this.#policy = null;
    this.#changed();
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #withKeys(spec: PublishedPolicy): PublishedPolicy {
    const own = [...this.#keys.values()].map(recordOf);
    const ids = new Set(own.flatMap(({ id, sha256 }) => [id, sha256]));
    // A key of the store goes before one of the policy with its id or its hash.
    const now = this.#now();
    const written = (spec.access?.keys ?? []).filter(
      (key) => !ids.has(key.id) && !ids.has(key.sha256) && !hasExpired(key.expiresAt, now),
    );
    const keys = [...own, ...written];
    if (keys.length > keysMax)
      this.#log.error({ keys: keys.length, keysMax }, 'some keys are left out: there are too many');
    return { ...spec, access: { ...spec.access, keys: keys.slice(0, keysMax) } };
  }

  #dropExpired(): void {
    const now = this.#now();
    for (const [id, { expiresAt }] of this.#keys) if (hasExpired(expiresAt, now)) this.#keys.delete(id);
  }

  #changed(): void {
    this.#dropExpired();
    for (const listener of this.#listeners) listener();
    this.#wakeAtExpiry();
  }

  /** The table is made anew when the next key expires. */
  #wakeAtExpiry(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const expiries = [...this.#keys.values(), ...(this.#policy?.spec.access?.keys ?? [])]
      .map(({ expiresAt }) => (typeof expiresAt === 'string' ? Date.parse(expiresAt) : Infinity))
      .filter((at) => at > this.#now());
    const next = expiries.reduce((earliest, at) => Math.min(earliest, at), Infinity);
    if (next === Infinity) return;
    this.#timer = setTimeout(
      () => {
        this.#changed();
      },
      Math.min(next - this.#now() + 1, napMs),
    );
    this.#timer.unref();
  }
}

function hasExpired(expiresAt: string | null | undefined, now: number): boolean {
  return typeof expiresAt === 'string' && Date.parse(expiresAt) <= now;
}

/** What a gateway needs of a key. */
function recordOf(key: StoredKey): AccessKey {
  const { id, name, sha256, tenant, tier, namespace, scopes, models, expiresAt, createdAt } = key;
  return { id, name, sha256, tenant, tier, namespace, scopes, models, expiresAt, createdAt };
}
