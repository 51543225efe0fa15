import { tiers } from '../qos/tier.ts';
import type { Tier } from '../qos/tier.ts';
import { backendRoles } from './model-route-policy.schema.ts';
import type { Backend, ModelRoute } from './model-route-policy.schema.ts';

/**
 * In which order a tier's requests look at the backends of a model. Where the policy names classes, those and no
 * others. Else by what the tier is for: critical and high take the fastest class first, standard the one that gives
 * most speed for its price, best-effort the cheapest. Within a class by role; fallbacks come after all others.
 */
export interface RankedBackend {
  readonly backend: Backend;
  /** Place in the policy's list: where its state is found. */
  readonly index: number;
  /** Smaller is better; backends of one class and role share it. */
  readonly group: number;
}

interface ClassFacts {
  readonly name: string;
  readonly speed: number;
  readonly price: number;
}

/** @returns best first */
export function rankBackends(route: ModelRoute, tier: Tier): readonly RankedBackend[] {
  const order = route.tiers[tier] ?? classOrder(route, tier);
  const roles = backendRoles.length;
  const ranked: RankedBackend[] = [];
  for (const [index, backend] of route.backends.entries()) {
    const place = order.indexOf(backend.class);
    if (place < 0) continue;
    const late = backend.role === 'fallback' ? order.length : 0;
    ranked.push({ backend, index, group: (late + place) * roles + backendRoles.indexOf(backend.role) });
  }
  return ranked.sort((a, b) => a.group - b.group || a.index - b.index);
}

/** Every tier's order. */
export function rankForTiers(route: ModelRoute): Readonly<Record<Tier, readonly RankedBackend[]>> {
  return Object.fromEntries(tiers.map((tier) => [tier, rankBackends(route, tier)])) as Record<
    Tier,
    readonly RankedBackend[]
  >;
}

function classOrder(route: ModelRoute, tier: Tier): string[] {
  const byName = new Map<string, ClassFacts>();
  for (const { class: name, speed, pricePerHour } of route.backends) {
    const known = byName.get(name);
    byName.set(name, {
      name,
      speed: Math.max(speed, known?.speed ?? 0),
      price: Math.min(pricePerHour, known?.price ?? Infinity),
    });
  }
  return [...byName.values()].sort(comparison(tier)).map(({ name }) => name);
}

function comparison(tier: Tier): (a: ClassFacts, b: ClassFacts) => number {
  switch (tier) {
    case 'critical':
    case 'high':
      return (a, b) => b.speed - a.speed || a.price - b.price;
    case 'standard':
      return (a, b) => a.price / a.speed - b.price / b.speed || b.speed - a.speed;
    case 'best-effort':
      return (a, b) => a.price - b.price || b.speed - a.speed;
  }
}
