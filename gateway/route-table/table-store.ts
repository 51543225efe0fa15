import type { Logger } from 'pino';
import { GatewayPolicy } from '../../domain/gateway-policy/gateway-policy.schema.ts';
import { RouteTable } from '../../domain/route-table/route-table.schema.ts';
import { compileRoutes } from '../../domain/routing/routes.ts';
import type { Routes } from '../../domain/routing/routes.ts';
import type { GatewayMetrics } from '../observe/metrics.ts';
import type { Endpoint, Endpoints } from '../upstream/endpoints.ts';

/**
 * The route table in use. A new one is checked and compiled whole before it takes the old one's place in one
 * assignment; a bad one is refused whole, counted and logged, and the old one stays.
 */
export interface TableStoreDeps {
  readonly endpoints: Endpoints;
  readonly metrics: () => GatewayMetrics;
  readonly logger: Logger;
  readonly now: () => number;
}

export class TableStore {
  private readonly deps: TableStoreDeps;
  private routes: Routes<Endpoint> | null = null;
  private table: RouteTable | null = null;
  private policy: GatewayPolicy = GatewayPolicy.parse({});
  /** As it came; '' for none. */
  private policyText = '';
  private readonly listeners: ((table: RouteTable, policy: GatewayPolicy) => void)[] = [];

  constructor(deps: TableStoreDeps) {
    this.deps = deps;
  }

  current(): Routes<Endpoint> | null {
    return this.routes;
  }

  /** Called with each new table and its policy, defaults filled in: the place where steps take their settings. */
  onApplied(listener: (table: RouteTable, policy: GatewayPolicy) => void): void {
    this.listeners.push(listener);
  }

  /**
   * @param value what came, unchecked
   * @param versionMin lower versions are out of order and refused
   * @returns the version in use from now on by this value, or null when it was refused
   */
  apply(value: unknown, versionMin: number): number | null {
    // Endpoints come and go by the minute, ten thousand keys do not: a policy that is the same is not checked again.
    const policyText = policyTextOf(value);
    const isSame = policyText === this.policyText;
    const parsed = RouteTable.safeParse(isSame ? { ...(value as object), policy: undefined } : value);
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      return this.refuse(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'wrong shape'}`);
    }
    const policy = isSame ? this.policy : (parsed.data.policy ?? GatewayPolicy.parse({}));
    const table = policyText === '' ? parsed.data : { ...parsed.data, policy };
    if (table.version < versionMin) {
      return this.refuse(`version ${table.version} came after version ${versionMin}`);
    }
    try {
      this.routes = compileRoutes(table, (address) => this.deps.endpoints.bind(address));
    } catch (error) {
      this.deps.endpoints.list(addressesOf(this.table));
      return this.refuse(error instanceof Error ? error.message : String(error));
    }
    this.table = table;
    this.policy = policy;
    this.policyText = policyText;
    this.deps.endpoints.list(addressesOf(table));
    const metrics = this.deps.metrics();
    metrics.tableVersion = table.version;
    metrics.tableAtMs = this.deps.now();
    for (const listener of this.listeners) listener(table, this.policy);
    return table.version;
  }

  /** Counts and logs a table that is not even JSON, or not ours to use. */
  refuse(why: string): null {
    this.deps.metrics().tablesRefused += 1;
    this.deps.logger.error(
      { why: why.slice(0, 500) },
      'a route table was refused; the last good one stays in use',
    );
    return null;
  }
}

function policyTextOf(value: unknown): string {
  if (typeof value !== 'object' || value === null || !('policy' in value)) return '';
  return value.policy === undefined ? '' : JSON.stringify(value.policy);
}

function addressesOf(table: RouteTable | null): Set<string> {
  const addresses = new Set<string>();
  for (const service of table?.services ?? []) {
    const { targets, transformer, explainer } = service;
    for (const target of [...targets, ...(transformer?.targets ?? []), ...(explainer?.targets ?? [])])
      for (const { address } of target.endpoints) addresses.add(address);
  }
  return addresses;
}
