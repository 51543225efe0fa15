import { Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import { plainMetrics } from '../observe/plain-metrics.ts';
import type { BudgetAccount } from './budget-account.ts';
import type { Budgets } from './budgets.ts';
import type { LeaseSource } from './lease-source.ts';

/** Sums of one budget over its accounts: keys and tenants are no labels, there may be thousands. */
class BudgetNumbers {
  left = { tokens: 0, micros: 0 };
  /** Slices that are leased and not spent. */
  outstanding = { tokens: 0, micros: 0 };
  reserved = { tokens: 0, micros: 0 };
  overdrawn = { tokens: 0, micros: 0 };
  refused = 0;
  wouldRefuse = 0;
  offline = 0;
  waiting = 0;
  accounts = 0;
}

export function registerBudgetMetrics(registry: Registry, budgets: Budgets, source: LeaseSource): void {
  const registers = [registry];
  const amounts = (
    name: string,
    help: string,
    read: (n: BudgetNumbers) => { tokens: number; micros: number },
  ): void => {
    new Gauge({
      name,
      help,
      labelNames: ['budget', 'unit'],
      registers,
      collect() {
        this.reset();
        for (const [budget, numbers] of numbersOf(budgets)) {
          const { tokens, micros } = read(numbers);
          if (Number.isFinite(tokens)) this.set({ budget, unit: 'tokens' }, tokens);
          if (Number.isFinite(micros)) this.set({ budget, unit: 'micros' }, micros);
        }
      },
    });
  };
  amounts('muster_gateway_budget_left', 'Left of the slices of this gateway', (n) => n.left);
  amounts(
    'muster_gateway_budget_outstanding',
    'Leased by this gateway and not spent: it is lost to others until given back or settled',
    (n) => n.outstanding,
  );
  amounts('muster_gateway_budget_reserved', 'Set aside for requests in flight', (n) => n.reserved);
  amounts(
    'muster_gateway_budget_overdrawn',
    'Used by answers beyond what was set aside for them, in the windows of now; paid by the next slice',
    (n) => n.overdrawn,
  );
  amounts(
    'muster_gateway_budget_overspend_bound',
    'The most by which this gateway can exceed its budgets: slices outstanding and answers beyond what was set aside',
    ({ outstanding, overdrawn }) => ({
      tokens: outstanding.tokens + overdrawn.tokens,
      micros: outstanding.micros + overdrawn.micros,
    }),
  );
  registerCounts(registry, budgets, source);
}

function registerCounts(registry: Registry, budgets: Budgets, source: LeaseSource): void {
  const count = (name: string, help: string, read: (n: BudgetNumbers) => number): void => {
    new Gauge({
      name,
      help,
      labelNames: ['budget'],
      registers: [registry],
      collect() {
        this.reset();
        for (const [budget, numbers] of numbersOf(budgets)) this.set({ budget }, read(numbers));
      },
    });
  };
  count('muster_gateway_budget_waiting', 'Requests that wait for a slice', (n) => n.waiting);
  count('muster_gateway_budget_accounts', 'Accounts of a budget in this gateway', (n) => n.accounts);
  count(
    'muster_gateway_budget_refused',
    'Requests refused in the windows of now, since they were not covered',
    (n) => n.refused,
  );
  count(
    'muster_gateway_budget_would_refuse',
    'Requests served that an enforced budget would have refused, in the windows of now',
    (n) => n.wouldRefuse,
  );
  count(
    'muster_gateway_budget_offline_grants',
    'Slices taken without the book, in the windows of now',
    (n) => n.offline,
  );
  plainMetrics(registry, 'muster_gateway_budget_').counter(
    'journal_failures_total',
    'Leases that could not be written to the journal: a crash would forget them',
    () => source.failures,
  );
}

function numbersOf(budgets: Budgets): Map<string, BudgetNumbers> {
  const all = new Map<string, BudgetNumbers>();
  for (const account of budgets.accounts.values()) {
    const numbers = all.get(account.budget.id) ?? new BudgetNumbers();
    all.set(account.budget.id, numbers);
    add(numbers, account);
  }
  return all;
}

function add(
  numbers: BudgetNumbers,
  { share, refused, wouldRefuse, offlineGrants, waiting }: BudgetAccount,
): void {
  numbers.accounts += 1;
  numbers.refused += refused;
  numbers.wouldRefuse += wouldRefuse;
  numbers.offline += offlineGrants;
  numbers.waiting += waiting.length;
  numbers.left.tokens += share.leftTokens;
  numbers.left.micros += share.leftMicros;
  const { tokens, micros } = share.outstanding;
  numbers.outstanding.tokens += tokens;
  numbers.outstanding.micros += micros;
  numbers.reserved.tokens += share.reservedTokens;
  numbers.reserved.micros += share.reservedMicros;
  numbers.overdrawn.tokens += share.overdrawnTokens;
  numbers.overdrawn.micros += share.overdrawnMicros;
}
