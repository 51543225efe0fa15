import type { Caller } from '../../domain/access/caller.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';
import { priceOf } from '../../domain/usage/price.ts';
import type { Price, PriceTable } from '../../domain/usage/price.ts';
import type { BudgetAccount } from '../budget/budget-account.ts';
import type { RateBucket } from '../rate-limit/rate-bucket.ts';

/** Sums of one service, model and tenant; read when metrics are scraped. */
export interface UsageNumbers {
  readonly namespace: string;
  readonly service: string;
  readonly model: string;
  readonly tenant: string;
  requests: number;
  estimated: number;
  inputTokens: number;
  cachedInputTokens: number;
  outputTokens: number;
  costMicros: number;
}

/** All that counting needs to know of requests of one caller for one model: found once, then kept. */
export interface Meter {
  readonly price: Price | null;
  readonly numbers: UsageNumbers;
  /** Who and for which model, as JSON fields of a usage record. */
  readonly ledgerText: string;
  /** Budgets that these requests draw from; null: not looked up yet. */
  budgets: readonly BudgetAccount[] | null;
  /** Rate limits that these requests count against; null: not looked up yet. */
  rates: readonly RateBucket[] | null;
}

/** Sets of labels; further tenants are counted together as `other`. */
const numbersMax = 5_000;

export class Meters {
  readonly numbers = new Map<string, UsageNumbers>();
  private prices: PriceTable = new Map();
  /** Services are made anew with each table, callers with each change of keys: both go by themselves. */
  private byService = new WeakMap<RoutedService, Map<string, WeakMap<Caller, Meter>>>();

  use(prices: PriceTable): void {
    this.prices = prices;
    this.reset();
  }

  /** Forgets what was looked up: prices, budgets or limits have changed. Sums stay. */
  reset(): void {
    this.byService = new WeakMap();
  }

  /** Forgets the sums of services that are gone. */
  dropUnless(isAlive: (service: string) => boolean): void {
    for (const [key, { namespace, service }] of this.numbers)
      if (!isAlive(`${namespace}/${service}`)) this.numbers.delete(key);
  }

  /** @param model as the request named it: one of the service's names, so there are few */
  of(service: RoutedService, model: string, caller: Caller): Meter {
    return this.byService.get(service)?.get(model)?.get(caller) ?? this.make(service, model, caller);
  }

  private make(service: RoutedService, model: string, caller: Caller): Meter {
    const byModel = this.byService.get(service) ?? new Map<string, WeakMap<Caller, Meter>>();
    this.byService.set(service, byModel);
    const byCaller = byModel.get(model) ?? new WeakMap<Caller, Meter>();
    byModel.set(model, byCaller);
    const { namespace } = service.route;
    const name = model.startsWith(`${namespace}/`) ? model.slice(namespace.length + 1) : model;
    const meter: Meter = {
      price: priceOf(this.prices, service.key, name),
      numbers: this.numbersOf(service, model, caller.tenant),
      ledgerText: ledgerText(service, model, caller),
      budgets: null,
      rates: null,
    };
    byCaller.set(caller, meter);
    return meter;
  }

  private numbersOf(service: RoutedService, model: string, tenant: string): UsageNumbers {
    const key = `${service.key}\n${model}\n${tenant}`;
    const known = this.numbers.get(key);
    if (known !== undefined) return known;
    if (this.numbers.size >= numbersMax && tenant !== other) return this.numbersOf(service, model, other);
    const { namespace, name } = service.route;
    const made: UsageNumbers = {
      namespace,
      service: name,
      model,
      tenant,
      requests: 0,
      estimated: 0,
      inputTokens: 0,
      cachedInputTokens: 0,
      outputTokens: 0,
      costMicros: 0,
    };
    this.numbers.set(key, made);
    return made;
  }
}

const other = 'other';

const textMax = 1_000;

function ledgerText({ route }: RoutedService, model: string, { id, tenant }: Caller): string {
  const fields = {
    key: id.slice(0, textMax),
    tenant: tenant.slice(0, textMax),
    namespace: route.namespace,
    service: route.name,
    model: model.slice(0, textMax),
  };
  return JSON.stringify(fields).slice(1, -1);
}
