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
function versionTags(route: ServiceRoute, { epoch }: CacheRules): VersionTag[] {
  const { createdAt, generation, upstreamModel } = route;
  return tagsOf(route, route.targets, [createdAt, generation, upstreamModel, epoch]);
}

/**
 * The same behind a transformer: its revision gives the answer, and the predictor's gave it what the answer is made of.
 * Where traffic is shared between several of the predictor's, nobody knows which one it asked: then there is none.
 */
function chainTags(route: ServiceRoute, entry: Chain, { epoch }: CacheRules): VersionTag[] {
  const [predictor, ...others] = revisionShares(route.targets).keys();
  if (predictor === undefined || others.length > 0) return [];
  const { createdAt, generation, upstreamModel } = route;
  const names = [upstreamModel, entry.upstreamModel ?? route.name];
  return tagsOf(route, entry.targets, [createdAt, generation, ...names, epoch, predictor]);
}

type Targets = ServiceRoute['targets'];
type Chain = NonNullable<ServiceRoute['transformer']>;

/** @param facts that count beside the service's name and the revision */
function tagsOf(
  { namespace, name }: ServiceRoute,
  targets: Targets,
  facts: readonly (string | number)[],
): VersionTag[] {
  const service = `${namespace}/${name}`;
  const serviceId = digest(service);
  return [...revisionShares(targets)].map(([revision, percent]) => {
    const id = digest(JSON.stringify([service, ...facts, revision]));
    return { service, serviceId, id, revision, percent };
  });
}

/** An endpoint's own revision is what counts; a target without endpoints (asleep) has only its name for one. */
function revisionShares(targets: Targets): Map<string, number> {
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
  /** Those that are asked by way of a transformer, by that. */
  private chains = new WeakMap<RoutedService, CachedService>();
  /** Ids of the versions of now, by their service's. */
  private ids = new Map<string, Set<string>>();
  private readonly numbersOf: (route: ServiceRoute) => ServiceNumbers;

  constructor(numbersOf: (route: ServiceRoute) => ServiceNumbers) {
    this.numbersOf = numbersOf;
  }

  use(table: RouteTable, policy: CachePolicy): void {
    this.policy = policy;
    this.compiled = new WeakMap();
    this.chains = new WeakMap();
    this.ids = new Map();
    for (const route of table.services) {
      const rules = rulesFor(policy, `${route.namespace}/${route.name}`);
      if (!rules.enabled) continue;
      const { transformer } = route;
      const behind = transformer === undefined ? [] : chainTags(route, transformer, rules);
      const ids = [...versionTags(route, rules), ...behind].map(({ id }) => id);
      this.ids.set(serviceIdOf(`${route.namespace}/${route.name}`), new Set(ids));
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

  /**
   * @param entry the transformer that it is asked by way of, else null
   * @returns null for a service that is not cached
   */
  of(service: RoutedService, entry: RoutedService | null): CachedService | null {
    const compiled = entry === null ? this.compiled : this.chains;
    const known = compiled.get(entry ?? service);
    if (known !== undefined) return known.rules.enabled ? known : null;
    if (this.policy === null) return null;
    const { route, key } = service;
    const rules = rulesFor(this.policy, key);
    const versions = entry === null ? versionTags(route, rules) : chainTags(route, entry.route, rules);
    const made = { key, rules, versions, numbers: this.numbersOf(route) };
    compiled.set(entry ?? service, made);
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
