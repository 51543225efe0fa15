import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import { MusterError } from '../../domain/errors.ts';
import { assignmentFault, revisionsWithoutReadyReplica } from '../../domain/route-table/assignment.ts';
import { buildRouteTable } from '../../domain/route-table/build.ts';
import type { RouteAssignment, RouteTable } from '../../domain/route-table/route-table.schema.ts';
import type { Routing } from '../store/routing.ts';
import type { AccessState } from './access-state.ts';
import type { NodeReports } from './node-reports.ts';

const coalesceMs = 10;
/** A slow disk may not keep endpoints from gateways for longer than this. */
const persistWaitMs = 40;

export interface RoutePublisherDeps {
  readonly routing: Routing;
  readonly reports: NodeReports;
  readonly access: AccessState;
  readonly log: Logger;
  readonly now: () => number;
}

/**
 * Keeps the route table: rebuilds it when an assignment, a report, a key or the policy changes, gives it a new version only when its
 * content is new, and tells its listeners. Versions are stored before they are sent, so that a restarted API does not
 * give one version to two tables; where the store is too slow or fails, the table goes out all the same, and
 * `atLeast` mends the version when a gateway reports a newer one.
 */
export class RoutePublisher {
  readonly #deps: RoutePublisherDeps;
  readonly #assignments = new Map<string, RouteAssignment>();
  readonly #listeners: (() => void)[] = [];
  #table: RouteTable = { version: 0, services: [] };
  #text = JSON.stringify(this.#table);
  #contentHash = '';
  #floor = 0;
  #timer: NodeJS.Timeout | null = null;
  #building: Promise<void> = Promise.resolve();

  private constructor(deps: RoutePublisherDeps) {
    this.#deps = deps;
    for (const source of [deps.reports, deps.access]) {
      source.onChange(() => {
        this.touch();
      });
    }
  }

  static async load(deps: RoutePublisherDeps): Promise<RoutePublisher> {
    const publisher = new RoutePublisher(deps);
    for (const assignment of await deps.routing.assignments()) {
      publisher.#assignments.set(keyOf(assignment), assignment);
    }
    const stored = await deps.routing.version();
    publisher.#table = { version: stored.version, services: [] };
    publisher.#contentHash = stored.contentHash;
    await publisher.#rebuild();
    publisher.#adopt(publisher.#build(publisher.#table.version));
    return publisher;
  }

  onTable(listener: () => void): void {
    this.#listeners.push(listener);
  }

  get table(): RouteTable {
    return this.#table;
  }

  /** The table as JSON, made once a version. */
  get text(): string {
    return this.#text;
  }

  assignments(): RouteAssignment[] {
    return [...this.#assignments.values()];
  }

  /**
   * @returns the version of the first table that has the assignment
   * @throws MusterError conflict while a revision in traffic has no ready replica
   */
  async put(assignment: RouteAssignment): Promise<number> {
    const fault = assignmentFault(assignment);
    if (fault !== null) throw new MusterError('invalid_manifest', `The assignment is wrong: ${fault}.`);
    const missing = revisionsWithoutReadyReplica(assignment, this.#deps.reports.all());
    if (missing.length > 0) {
      throw new MusterError(
        'conflict',
        `No node reports a ready replica of ${missing.join(', ')}; publish the routes when one is ready.`,
      );
    }
    await this.#deps.routing.putAssignment(assignment);
    this.#assignments.set(keyOf(assignment), assignment);
    return await this.flush();
  }

  async remove(namespace: string, name: string): Promise<number> {
    await this.#deps.routing.removeAssignment(namespace, name);
    this.#assignments.delete(keyOf({ namespace, name }));
    return await this.flush();
  }

  /** Something that the table is made of has changed; changes of a few milliseconds make one version. */
  touch(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      void this.flush();
    }, coalesceMs);
  }

  /** Rebuilds now. @returns the version that has all changes so far */
  async flush(): Promise<number> {
    const building = this.#building.then(() => this.#rebuild());
    this.#building = building.catch((error: unknown) => {
      this.#deps.log.error({ err: error }, 'the route table could not be built');
    });
    await building;
    return this.#table.version;
  }

  /** A gateway has a version that this API never made: the store was lost or is an old copy. Go beyond it. */
  async atLeast(version: number): Promise<void> {
    if (version <= this.#table.version || version >= Number.MAX_SAFE_INTEGER) return;
    this.#deps.log.warn(
      { version, mine: this.#table.version },
      'a gateway has a newer route table than the store',
    );
    this.#floor = version + 1;
    await this.flush();
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    await this.#building;
  }

  #build(version: number): RouteTable {
    const { reports, access, now } = this.#deps;
    const table = buildRouteTable(version, this.assignments(), reports.all(), now());
    const policy = access.published();
    // As it was written: gateways fill in the defaults, and check it as a part of the table.
    return policy === undefined ? table : { ...table, policy: policy as RouteTable['policy'] };
  }

  async #rebuild(): Promise<void> {
    const version = Math.max(this.#table.version + 1, this.#floor);
    const next = this.#build(version);
    const content =
      JSON.stringify(next.services) + (next.policy === undefined ? '' : JSON.stringify(next.policy));
    const contentHash = createHash('sha256').update(content).digest('hex');
    if (contentHash === this.#contentHash && this.#floor <= this.#table.version) return;
    await this.#persist(version, contentHash);
    this.#contentHash = contentHash;
    this.#adopt(next);
    for (const listener of this.#listeners) listener();
  }

  #adopt(table: RouteTable): void {
    this.#table = table;
    this.#text = JSON.stringify(table);
  }

  async #persist(version: number, contentHash: string): Promise<void> {
    const saving = this.#deps.routing.saveVersion({ version, contentHash }).catch((error: unknown) => {
      this.#deps.log.error({ err: error, version }, 'the version of the route table could not be stored');
    });
    let timer: NodeJS.Timeout | undefined;
    const waited = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, persistWaitMs);
    });
    await Promise.race([saving, waited]);
    clearTimeout(timer);
  }
}

function keyOf(of: { readonly namespace: string; readonly name: string }): string {
  return `${of.namespace}/${of.name}`;
}
