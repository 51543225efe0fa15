import type { Caller } from '../../domain/access/caller.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';
import { countedName } from '../../domain/usage/counted-name.ts';
import { priceOf } from '../../domain/usage/price.ts';
import type { Price, PriceTable } from '../../domain/usage/price.ts';
import type { BudgetAccount } from '../budget/budget-account.ts';
import type { RoutedModel } from '../model-route/routed-model.ts';
import type { RateBucket } from '../rate-limit/rate-bucket.ts';

/** Sums of one service, model and tenant; read when metrics are scraped. */
export interface UsageNumbers {
  readonly namespace: string;
  readonly service: string;
  /** As it counts, see `countedName`. */
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

type SharedModel = Pick<RoutedModel, 'name'>;

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

  /**
   * @param model as the request named it: one of the service's names, so there are few
   * @param shared the model, where several services serve it: it has a name of its own
   */
  of(service: RoutedService, model: string, caller: Caller, shared: SharedModel | null = null): Meter {
    // The service may be called like the model that it serves with others.
    const key = shared === null ? model : `\n${shared.name}`;
    const known = this.byService.get(service)?.get(key)?.get(caller);
    if (known !== undefined) return known;
    const meter = this.make(service, countedName(service.route, model), caller, shared);
    this.keep(service, key, caller, meter);
    return meter;
  }

  private keep(service: RoutedService, key: string, caller: Caller, meter: Meter): void {
    const byModel = this.byService.get(service) ?? new Map<string, WeakMap<Caller, Meter>>();
    this.byService.set(service, byModel);
    const byCaller = byModel.get(key) ?? new WeakMap<Caller, Meter>();
    byModel.set(key, byCaller);
    byCaller.set(caller, meter);
  }

  private make(service: RoutedService, own: string, caller: Caller, shared: SharedModel | null): Meter {
    const name = shared?.name ?? own;
    return {
      price: priceOf(this.prices, service.key, name, own),
      numbers: this.numbersOf(service, name, caller.tenant),
      ledgerText: ledgerText(service, name, caller),
      budgets: null,
      rates: null,
    };
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
