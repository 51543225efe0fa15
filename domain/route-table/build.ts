import type { NodeReport, ReplicaReport } from '../node/report.schema.ts';
import { endpointAddress } from './address.ts';
import type { Endpoint, RouteAssignment, RouteTable, ServiceRoute, Target } from './route-table.schema.ts';

/**
 * Joins what workflows decided (which revisions get traffic) with what nodes report (where their servers are, and
 * whether they are ready) into the table that gateways serve from. Pure and stable: equal input in any order gives
 * an equal table, so that a repeated report is no new version.
 *
 * A node that fell silent keeps its endpoints: silence says that its agent or the network is away, not that its
 * servers are, and a gateway finds a dead endpoint by itself. Only where a node that is heard of reports the same
 * address does the silent one's word not count.
 */
export interface HeardReport {
  readonly report: NodeReport;
  /** When the report came in, milliseconds, by the clock of `now`. */
  readonly heardAt: number;
}

/** After this time without a report a node counts as silent. */
export const nodeSilentAfterMs = 15_000;

/**
 * @param version of the table to be made
 * @param assignments one a service, in any order
 * @param reports the last one of each node, in any order
 * @param now milliseconds, by the clock of `heardAt`
 */
export function buildRouteTable(
  version: number,
  assignments: readonly RouteAssignment[],
  reports: readonly HeardReport[],
  now: number,
): RouteTable {
  const endpoints = endpointsByRevision(reports, now);
  const services = assignments
    .map((assignment) => routeOf(assignment, endpoints))
    .sort((a, b) => compare(a.namespace, b.namespace) || compare(a.name, b.name));
  return { version, services };
}

/** Replicas of a service's revision, as one string for a map. */
function keyOf(replica: { readonly namespace: string; readonly name: string; readonly revision: string }) {
  return `${replica.namespace}/${replica.name}/${replica.revision}`;
}

function endpointsByRevision(reports: readonly HeardReport[], now: number): Map<string, Endpoint[]> {
  // Freshest first, so that the first word about an address is the one that counts.
  const byAge = [...reports].sort(
    (a, b) =>
      Number(isSilent(a, now)) - Number(isSilent(b, now)) ||
      b.heardAt - a.heardAt ||
      compare(a.report.node, b.report.node),
  );
  const told = new Set<string>();
  const found = new Map<string, Endpoint[]>();
  for (const { report } of byAge) {
    const mine = [...report.replicas].sort((a, b) => rank(a) - rank(b) || compare(keyOf(a), keyOf(b)));
    for (const replica of mine) {
      if (told.has(replica.address) || !endpointAddress.test(replica.address)) continue;
      told.add(replica.address);
      // A stopping replica leaves the table at once: gateways then drain it.
      if (replica.state === 'Stopping') continue;
      const key = keyOf(replica);
      const list = found.get(key) ?? [];
      list.push({
        address: replica.address,
        revision: replica.revision,
        ready: replica.state === 'Ready',
      });
      found.set(key, list);
    }
  }
  for (const list of found.values()) list.sort((a, b) => compare(a.address, b.address));
  return found;
}

/** True when a node was not heard of for so long that its word is old. */
export function isSilent(heard: HeardReport, now: number): boolean {
  return now - heard.heardAt > nodeSilentAfterMs;
}

/** Of two replicas that claim one address (a port was given out again), the one that lives on it counts. */
function rank(replica: ReplicaReport): number {
  switch (replica.state) {
    case 'Ready':
      return 0;
    case 'NotReady':
      return 1;
    case 'Starting':
      return 2;
    case 'CrashLoopBackOff':
      return 3;
    case 'Stopping':
      return 4;
  }
}

function routeOf(assignment: RouteAssignment, endpoints: ReadonlyMap<string, Endpoint[]>): ServiceRoute {
  const { traffic, ...rest } = assignment;
  const targets: Target[] = traffic
    .filter((share) => share.percent > 0)
    .map((share) => ({
      revision: share.revision,
      percent: share.percent,
      endpoints: endpoints.get(keyOf({ ...assignment, revision: share.revision })) ?? [],
    }))
    .sort((a, b) => compare(a.revision, b.revision));
  return { ...rest, models: [...new Set(rest.models)], targets };
}

/** Order by code units: the same on every machine, whatever its locale. */
function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
