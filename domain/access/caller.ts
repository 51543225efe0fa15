import type { Tier } from '../qos/tier.ts';

/**
 * Who asks, as every later step sees it: budgets count by key and tenant, queues are fair between tenants, caches
 * keep tenants apart. One frozen value per key or token, shared by all of its requests.
 */
export interface Caller {
  /** Id of the API key, subject of the token, '' for nobody. Fit for logs; never the secret. */
  readonly id: string;
  readonly kind: 'anonymous' | 'key' | 'token' | 'certificate' | 'internal';
  readonly tenant: string;
  readonly tier: Tier;
  /**
   * Namespace in which names are looked for when neither host, path nor header says one; null: the one that is called
   * like the tenant, if there is one, else `default`.
   */
  readonly namespace: string | null;
  /** What it may do: `infer`, `admin` (load, unload), `metrics` (read /metrics), `*`. */
  readonly scopes: readonly string[];
  /** `namespace/name` of services, `namespace/*` or `*`. */
  readonly models: readonly string[];
}

/**
 * Whose files, batches and stored responses are the caller's: its tenant's, else its own alone, so that keys without a
 * tenant do not see each other's. A tenant cannot be called like a key: that one begins with a blank.
 */
export function ownerOf({ id, tenant }: Pick<Caller, 'id' | 'tenant'>): string {
  return tenant === '' && id !== '' ? ` ${id}` : tenant;
}

/** A request that brought no credential, where the policy lets it in. */
export const anonymous: Caller = Object.freeze({
  id: '',
  kind: 'anonymous',
  tenant: '',
  tier: 'standard',
  namespace: null,
  scopes: Object.freeze(['infer', 'admin', 'metrics']),
  models: Object.freeze(['*']),
});

/** A request without a valid credential where one is required: it may do what probes do, and is told of no model. */
export const nobody: Caller = Object.freeze({
  id: '',
  kind: 'anonymous',
  tenant: '',
  tier: 'best-effort',
  namespace: null,
  scopes: Object.freeze([]),
  models: Object.freeze([]),
});
