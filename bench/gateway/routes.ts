import { createHash, randomBytes } from 'node:crypto';
import { keyBytes, makeKey } from '../../domain/access/key.ts';

/**
 * The routes file that the gateway is measured with: everything on that a careful operator would have on. An API key
 * is demanded, and is one of a thousand; its tenant has a tier, limits of concurrency put every request through
 * admission, and all is counted. Nothing waits and nothing is refused: that would be a bench of something else.
 */
const tenants = 1_000;

export interface Routes {
  /** JSON. */
  readonly text: string;
  /** `authorization: Bearer …`, or null where none is demanded. */
  readonly header: string | null;
}

export function makeRoutes(servers: readonly string[], isBare: boolean): Routes {
  const services = [{ name: 'm', protocols: ['openai', 'v1', 'v2'], endpoints: servers }];
  if (isBare) return { text: JSON.stringify({ services }), header: null };
  const made = Array.from({ length: tenants }, (_, at) => {
    const { id, key } = makeKey(randomBytes(keyBytes.id + keyBytes.secret));
    const tenant = `tenant-${at}`;
    return {
      key,
      entry: { id, sha256: sha256(key), tenant, tier: 'high', scopes: ['infer'], models: ['default/*'] },
    };
  });
  const much = 1_000_000_000;
  const policy = {
    access: { mode: 'required', keys: made.map(({ entry }) => entry) },
    qos: { concurrency: { perEndpoint: 1_000 }, tenantShare: 'tokens' },
    pick: { algorithm: 'prefix' },
    prices: { models: [{ model: '*', inputPerMillion: 250_000, outputPerMillion: 1_000_000 }] },
    budgets: [
      { id: 'tokens', per: 'key', period: 'day', limitTokens: much * 1_000 },
      { id: 'money', per: 'tenant', period: 'month', limitCostMicros: much * 1_000 },
    ],
    rateLimits: [{ id: 'speed', per: 'key', requestsPerMinute: much, tokensPerMinute: much }],
  };
  return {
    text: JSON.stringify({ services, policy }),
    header: `authorization: Bearer ${made[tenants / 2]?.key ?? ''}`,
  };
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
