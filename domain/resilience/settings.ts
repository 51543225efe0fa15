import type { RetryBounds, RetryLimits } from '../routing/retry.ts';
import type { ResiliencePolicy, ServiceResilience } from './resilience-policy.schema.ts';

type Filled<T> = { readonly [K in keyof T]-?: Exclude<T[K], undefined> };

/** A service's policy with nothing left out. */
export type ResilienceSettings = {
  readonly [Section in keyof ServiceResilience]-?: Section extends 'totalMs'
    ? number | null
    : Filled<NonNullable<ServiceResilience[Section]>>;
};

/**
 * Defaults. They repeat nothing that could do harm twice, never wait longer than a caller would notice, and leave
 * streams and hedges alone: those cost work and are an operator's choice. Numbers: three tries and two seconds as
 * since the first version; a budget of a fifth as in Finagle and Envoy; five failures in a row as in Envoy, and half
 * of at least twenty, because a handful of requests says little about a server that takes a minute for one.
 */
export const defaultSettings: ResilienceSettings = {
  totalMs: null,
  retry: {
    tries: 3,
    windowMs: 2_000,
    statuses: [429, 502, 503, 504],
    retryAfterMsMax: 0,
    perTryMs: null,
    budgetPercent: 20,
    budgetPerSecond: 10,
  },
  outlier: {
    consecutiveFailures: 5,
    statuses: [502, 503, 504],
    failurePercent: 50,
    minimumRequests: 20,
    windowMs: 10_000,
    baseMs: 5_000,
    maxMs: 60_000,
    maxEjectedPercent: 50,
    probes: 1,
    latencyFactor: 0,
  },
  activeHealth: { mode: 'ejected', path: null, intervalMs: 1_000, intervalMsMax: 10_000, timeoutMs: 2_000 },
  hedge: { after: 'never', minimumMs: 50, budgetPercent: 5 },
  midStream: { mode: 'error', chat: 'detect', continuationsMax: 2 },
  wake: { holdMs: 60_000, holdersMax: 1_000, holdBytesMax: 64 * 1024 * 1024, progressMs: 0 },
};

/** @param key namespace/name */
export function settingsOf(policy: ResiliencePolicy, key: string): ResilienceSettings {
  const own =
    policy.services !== undefined && Object.hasOwn(policy.services, key) ? policy.services[key] : {};
  return merge(merge(defaultSettings, policy.all ?? {}), own ?? {});
}

/** Keys of the services that stand in for one, best first; each once, and never itself. */
export function fallbacksOf(policy: ResiliencePolicy, key: string): readonly string[] {
  if (policy.fallbacks === undefined || !Object.hasOwn(policy.fallbacks, key)) return [];
  return [...new Set(policy.fallbacks[key])].filter((each) => each !== key);
}

/** What the policy says of tries, within the bounds of the gateway. */
export function retryRules(retry: ResilienceSettings['retry'], bounds: RetryBounds): RetryLimits {
  return {
    triesMax: Math.min(retry.tries, bounds.triesMax),
    retryWindowMs: Math.min(retry.windowMs, bounds.retryWindowMs),
    retryAfterMsMax: retry.retryAfterMsMax,
    isTryTimed: retry.perTryMs !== null,
  };
}

function merge(base: ResilienceSettings, over: ServiceResilience): ResilienceSettings {
  return {
    totalMs: over.totalMs === undefined ? base.totalMs : over.totalMs,
    retry: fill(base.retry, over.retry),
    outlier: fill(base.outlier, over.outlier),
    activeHealth: fill(base.activeHealth, over.activeHealth),
    hedge: fill(base.hedge, over.hedge),
    midStream: fill(base.midStream, over.midStream),
    wake: fill(base.wake, over.wake),
  };
}

/** Fields that are there and not undefined; a JSON document has no others, an embedder may. */
function fill<Section extends object>(
  base: Section,
  over: { [K in keyof Section]?: unknown } | undefined,
): Section {
  if (over === undefined) return base;
  const said = Object.entries(over).filter(([, value]) => value !== undefined);
  return { ...base, ...Object.fromEntries(said) };
}
