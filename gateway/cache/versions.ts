import { hash } from 'node:crypto';
import type { CachePolicy, CacheRules } from '../../domain/cache/cache-policy.schema.ts';
import { rulesFor } from '../../domain/cache/rules.ts';
import type { RouteTable, ServiceRoute } from '../../domain/route-table/route-table.schema.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';
import type { ServiceNumbers } from './cache-metrics.ts';
import { versionIdLength } from './local-store.ts';
import type { VersionTag } from './entry.ts';

/** What the cache knows of one service of one table: its rules, and the model versions that may answer for it. */
export interface CachedService {
  readonly key: string;
  readonly rules: CacheRules;
  /** With traffic, in the order of the table. */
  readonly versions: readonly VersionTag[];
  readonly numbers: ServiceNumbers;
}

/**
 * All that makes an answer old when it changes: another revision, another generation, a service of the same name that
 * was made anew, another name of the model at the server, and the number that people change to forget everything.
 */
export function versionTags(route: ServiceRoute, rules: CacheRules): VersionTag[] {
  const service = `${route.namespace}/${route.name}`;
  const serviceId = digest(service);
  const { createdAt, generation, upstreamModel } = route;
  return [...revisionShares(route)].map(([revision, percent]) => {
    const id = digest(JSON.stringify([service, createdAt, generation, upstreamModel, rules.epoch, revision]));
    return { service, serviceId, id, revision, percent };
  });
}

/** An endpoint's own revision is what counts; a target without endpoints (asleep) has only its name for one. */
function revisionShares({ targets }: ServiceRoute): Map<string, number> {
  const shares = new Map<string, number>();
  for (const { revision, percent, endpoints } of targets) {
    if (percent <= 0) continue;
    const revisions = endpoints.length === 0 ? [revision] : endpoints.map((endpoint) => endpoint.revision);
    for (const each of revisions) shares.set(each, (shares.get(each) ?? 0) + percent / revisions.length);
  }
  return shares;
}

function digest(text: string): string {
  return hash('sha256', text, 'hex').slice(0, versionIdLength);
}

/** Compiled once for each service of each table, when it is first asked for. */
export class Versions {
  private policy: CachePolicy | null = null;
  private compiled = new WeakMap<RoutedService, CachedService>();
  /** Ids of the versions of now, by their service's. */
  private ids = new Map<string, Set<string>>();
  private readonly numbersOf: (route: ServiceRoute) => ServiceNumbers;

  constructor(numbersOf: (route: ServiceRoute) => ServiceNumbers) {
    this.numbersOf = numbersOf;
  }

  use(table: RouteTable, policy: CachePolicy): void {
    this.policy = policy;
    this.compiled = new WeakMap();
    this.ids = new Map();
    for (const route of table.services) {
      const rules = rulesFor(policy, `${route.namespace}/${route.name}`);
      if (!rules.enabled) continue;
      for (const { serviceId, id } of versionTags(route, rules)) {
        const known = this.ids.get(serviceId);
        if (known === undefined) this.ids.set(serviceId, new Set([id]));
        else known.add(id);
      }
    }
  }

  /** Ids of a service's versions that the table has. */
  idsOf(serviceId: string): ReadonlySet<string> {
    return this.ids.get(serviceId) ?? none;
  }

  /** Of all services that are cached. */
  allIds(): Set<string> {
    return new Set([...this.ids.values()].flatMap((ids) => [...ids]));
  }

  /** @returns null for a service that is not cached */
  of(service: RoutedService): CachedService | null {
    const known = this.compiled.get(service);
    if (known !== undefined) return known.rules.enabled ? known : null;
    if (this.policy === null) return null;
    const rules = rulesFor(this.policy, service.key);
    const made = {
      key: service.key,
      rules,
      versions: versionTags(service.route, rules),
      numbers: this.numbersOf(service.route),
    };
    this.compiled.set(service, made);
    return rules.enabled ? made : null;
  }
}

const none: ReadonlySet<string> = new Set();

/** The service's part of keys in Redis. */
export function serviceIdOf(serviceKey: string): string {
  return digest(serviceKey);
}

/** Chooses the version that a request is answered by, by the shares of the traffic, as the picker would. */
export function drawVersion(versions: readonly VersionTag[], chance: () => number): VersionTag | null {
  if (versions.length < 2) return versions[0] ?? null;
  let mark = chance() * versions.reduce((sum, { percent }) => sum + percent, 0);
  for (const version of versions) {
    mark -= version.percent;
    if (mark < 0) return version;
  }
  return versions.at(-1) ?? null;
}
