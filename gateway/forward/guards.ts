import type { ResiliencePolicy } from '../../domain/resilience/resilience-policy.schema.ts';
import { RecentTimes } from '../../domain/resilience/recent-times.ts';
import { RetryBudget } from '../../domain/resilience/retry-budget.ts';
import { fallbacksOf, settingsOf } from '../../domain/resilience/settings.ts';
import type { ResilienceSettings } from '../../domain/resilience/settings.ts';
import type { RouteTable } from '../../domain/route-table/route-table.schema.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';

/** What a service's requests share: its policy, its budgets, and counts for metrics. */
export class Guard {
  settings: ResilienceSettings;
  /** Keys of services that stand in for it. */
  fallbacks: readonly string[];
  readonly retries: RetryBudget;
  readonly hedges: RetryBudget;
  /** Kept only where hedging needs them. */
  readonly firstBytes = new RecentTimes();
  fallenBack = 0;
  hedgesSent = 0;
  hedgesWon = 0;
  continued = 0;
  continuationsFailed = 0;
  /** Streams that ended in an error event or a cut. */
  brokenOff = 0;

  constructor(settings: ResilienceSettings, fallbacks: readonly string[], nowMs: number) {
    this.settings = settings;
    this.fallbacks = fallbacks;
    this.retries = new RetryBudget(retryRates(settings), nowMs);
    this.hedges = new RetryBudget(hedgeRates(settings), nowMs);
  }

  use(settings: ResilienceSettings, fallbacks: readonly string[]): void {
    this.settings = settings;
    this.fallbacks = fallbacks;
    this.retries.use(retryRates(settings));
    this.hedges.use(hedgeRates(settings));
  }
}

const retryRates = ({ retry }: ResilienceSettings) => ({
  perRequest: retry.budgetPercent / 100,
  perSecond: retry.budgetPerSecond,
});
const hedgeRates = ({ hedge }: ResilienceSettings) => ({
  perRequest: hedge.budgetPercent / 100,
  perSecond: 0,
});

/** Guards by service; those of services that left the table are forgotten. */
export class Guards {
  private readonly byKey = new Map<string, Guard>();
  private readonly nowMs: () => number;
  private policy: ResiliencePolicy = {};

  constructor(nowMs: () => number) {
    this.nowMs = nowMs;
  }

  /** Called with each new table. */
  use(policy: ResiliencePolicy, table: RouteTable): void {
    this.policy = policy;
    const keys = new Set(table.services.map(({ namespace, name }) => `${namespace}/${name}`));
    for (const [key, guard] of this.byKey) {
      if (keys.has(key)) guard.use(settingsOf(policy, key), fallbacksOf(policy, key));
      else this.byKey.delete(key);
    }
  }

  of(service: Pick<RoutedService, 'key'>): Guard {
    const known = this.byKey.get(service.key);
    if (known !== undefined) return known;
    const { key } = service;
    const made = new Guard(settingsOf(this.policy, key), fallbacksOf(this.policy, key), this.nowMs());
    this.byKey.set(key, made);
    return made;
  }

  all(): IterableIterator<[string, Guard]> {
    return this.byKey.entries();
  }
}
