import type { ModelPrice, PricesPolicy } from './prices-policy.schema.ts';
import type { Usage } from './usage.ts';

/** What a request costs, in whole micro-units. */
export interface Price {
  readonly input: number;
  readonly cachedInput: number;
  readonly output: number;
  readonly perRequest: number;
}

export type PriceTable = ReadonlyMap<string, Price>;

export function compilePrices(policy: PricesPolicy): PriceTable {
  const table = new Map<string, Price>();
  for (const price of policy.models) if (!table.has(price.model)) table.set(price.model, compilePrice(price));
  return table;
}

/**
 * @param service `namespace/name`
 * @param model as it counts, see `countedName`
 * @param other what it is called by the service itself, where that is another name
 * @returns null where nothing has a price
 */
export function priceOf(table: PriceTable, service: string, model: string, other = model): Price | null {
  return table.get(service) ?? table.get(model) ?? table.get(other) ?? table.get('*') ?? null;
}

const million = 1_000_000;
/** Counts beyond it are a server's mistake; within it, every product below is exact in a double. */
export const tokensMax = 1_000_000_000;

/**
 * Micro-units that an answered request costs, rounded once, half up, so that it is off by half a micro-unit at most.
 * Whole millions and the rest are multiplied apart: each rest is below a million and each price at most 10^9, so the
 * sum of three products stays below 2^53.
 */
export function costOf(price: Price, usage: Usage): number {
  const cached = Math.min(usage.cachedInputTokens, usage.inputTokens);
  const fresh = usage.inputTokens - cached;
  const { outputTokens } = usage;
  if (fresh < million && cached < million && outputTokens < million)
    return price.perRequest + roundedMillionths(price, fresh, cached, outputTokens);
  const rests = roundedMillionths(price, fresh % million, cached % million, outputTokens % million);
  return (
    price.perRequest +
    rests +
    Math.floor(fresh / million) * price.input +
    Math.floor(cached / million) * price.cachedInput +
    Math.floor(outputTokens / million) * price.output
  );
}

function roundedMillionths(price: Price, fresh: number, cached: number, output: number): number {
  const product = fresh * price.input + cached * price.cachedInput + output * price.output + million / 2;
  return Math.floor(product / million); // exact: quotients below 2^32 and their millionths differ in a double
}

function compilePrice(price: ModelPrice): Price {
  return {
    input: price.inputPerMillion,
    cachedInput: price.cachedInputPerMillion ?? price.inputPerMillion,
    output: price.outputPerMillion,
    perRequest: price.perRequest,
  };
}
