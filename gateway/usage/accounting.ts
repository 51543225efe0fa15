import { randomBytes } from 'node:crypto';
import type { Registry } from 'prom-client';
import type { GatewayPolicy } from '../../domain/gateway-policy/gateway-policy.schema.ts';
import type { BudgetShareReport } from '../../domain/usage/usage-record.schema.ts';
import type { BudgetAccount } from '../budget/budget-account.ts';
import { registerBudgetMetrics } from '../budget/budget-metrics.ts';
import { BudgetStep } from '../budget/budget-step.ts';
import { Budgets } from '../budget/budgets.ts';
import { MemoryLeases } from '../budget/journal.ts';
import { RedisLeases } from '../budget/lease-source.ts';
import type { LeaseSource } from '../budget/lease-source.ts';
import { GatewayCount } from '../rate-limit/gateway-count.ts';
import { registerRateMetrics } from '../rate-limit/rate-metrics.ts';
import { RateStep } from '../rate-limit/rate-step.ts';
import type { SharedRedis } from '../redis/shared-redis.ts';
import type { Step } from '../step.ts';
import { Meters } from './meters.ts';
import { registerUsageMetrics } from './usage-metrics.ts';
import { UsageStep } from './usage-step.ts';
import type { OnUsed } from './usage-step.ts';

/** What a gateway counts with: who it is, and where its books lie. */
export interface AccountingOptions {
  /** Names this process in books and in the ledger; it never comes again. */
  readonly gatewayId: string;
  /** Processes of this gateway, each with a part of the limits where there is no Redis. */
  readonly processes: number;
  /** Where slices come from without Redis; absent: from memory, and a restart begins anew. */
  readonly journal?: LeaseSource;
  readonly onUsed?: OnUsed;
}

export interface AccountingDeps {
  readonly redis: SharedRedis | null;
  readonly registry: Registry;
  /** Whether a service, `namespace/name`, is in the table. */
  readonly isAlive: (service: string) => boolean;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Monotonic. */
  readonly nowMs: () => number;
}

/** All that counts what requests use: prices, rate limits, budgets, and who is told. */
export class Accounting {
  /** In their order: prices and usage first, so that it settles last and sees what the others made of it. */
  readonly steps: readonly Step[];
  readonly budgets: Budgets;
  readonly meters = new Meters();
  currency = 'USD';
  private applied = '';
  private readonly usage: UsageStep;
  private readonly rates: RateStep;
  private readonly budget: BudgetStep;
  /** Gateways that share Redis. */
  readonly count: GatewayCount;

  constructor(deps: AccountingDeps, options: AccountingOptions = unnamed()) {
    const { redis, registry, now, nowMs } = deps;
    const { gatewayId, processes } = options;
    const { meters } = this;
    const source = redis === null ? (options.journal ?? new MemoryLeases(now)) : new RedisLeases(redis);
    this.count = new GatewayCount(redis, gatewayId, processes);
    this.budgets = new Budgets({
      source,
      isShared: redis !== null,
      gatewayId,
      processes,
      gateways: () => this.count.value,
      now,
      nowMs,
      onChange: () => {
        meters.reset();
      },
    });
    this.rates = new RateStep({
      nowMs,
      gateways: () => this.count.value,
      onDrop: () => {
        meters.reset();
      },
    });
    this.budget = new BudgetStep(this.budgets, now);
    this.usage = new UsageStep({
      meters,
      isCounted: (meter) => meter.price !== null || this.budgets.isOn || this.rates.isOn,
      onUsed: (passage, meter) => options.onUsed?.(passage, meter),
    });
    this.steps = [this.usage, this.rates, this.budget];
    registerUsageMetrics(registry, meters, deps.isAlive);
    registerBudgetMetrics(registry, this.budgets, source);
    registerRateMetrics(registry, this.rates);
  }

  /** A table with the policy of the one before, as most are, changes nothing. */
  use(policy: GatewayPolicy): void {
    const { prices, usage, rateLimits, budgets, qos } = policy;
    const text = JSON.stringify([prices, usage, rateLimits, budgets, qos.concurrency.gateways]);
    if (text === this.applied) return;
    this.applied = text;
    this.currency = prices.currency;
    this.usage.use(prices);
    this.budget.use(usage);
    this.rates.use(rateLimits, usage);
    this.budgets.use(budgets, qos.concurrency.gateways);
    if (rateLimits.length + budgets.length > 0) this.count.start();
  }

  /** What this gateway holds and spent of each budget, as far as the ledger has still to hear of it. */
  shares(): BudgetShareReport[] {
    return this.budgets.reported().map(reportOf);
  }

  /** Slices go back. */
  async close(): Promise<void> {
    await Promise.all([this.budgets.close(), this.count.close()]);
  }
}

function reportOf({ key, budget, window, share }: BudgetAccount): BudgetShareReport {
  return {
    window: key,
    budget: budget.id,
    endMs: window.endMs === Infinity ? null : window.endMs,
    limitTokens: budget.limitTokens ?? null,
    limitMicros: budget.limitCostMicros ?? null,
    grantedTokens: share.granted.tokens,
    grantedMicros: share.granted.micros,
    spentTokens: share.spentTokens,
    spentMicros: share.spentMicros,
  };
}

function unnamed(): AccountingOptions {
  return { gatewayId: randomBytes(8).toString('hex'), processes: 1 };
}
