import type { Logger } from 'pino';
import { MusterError } from '../../domain/errors.ts';
import type { NodeReport } from '../../domain/node/report.schema.ts';
import type { HeardReport } from '../../domain/route-table/build.ts';
import { isSilent } from '../../domain/route-table/build.ts';
import type { Routing } from '../store/routing.ts';

const nodesMax = 1000;
const writeEveryMs = 2_000;

/**
 * The last report of each node: in memory for every reader, and on disk, so that a restarted control API has endpoints
 * at once. Until a node is heard again it counts as silent. A write that failed is tried again every two seconds.
 */
export class NodeReports {
  readonly #routing: Routing;
  readonly #log: Logger;
  readonly #now: () => number;
  readonly #heard = new Map<string, HeardReport>();
  readonly #written = new Map<string, string>();
  readonly #listeners: (() => void)[] = [];
  readonly #timer: NodeJS.Timeout;
  #writing: Promise<void> = Promise.resolve();

  private constructor(routing: Routing, log: Logger, now: () => number) {
    this.#routing = routing;
    this.#log = log;
    this.#now = now;
    this.#timer = setInterval(() => {
      void this.#save();
    }, writeEveryMs);
    this.#timer.unref();
  }

  static async load(routing: Routing, log: Logger, now: () => number): Promise<NodeReports> {
    const reports = new NodeReports(routing, log, now);
    for (const report of await routing.reports()) {
      reports.#heard.set(report.node, { report, heardAt: Number.NEGATIVE_INFINITY });
      reports.#written.set(report.node, lasting(report));
    }
    return reports;
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /**
   * Takes a report. What matters after a restart is on disk when this resolves: a table that is built from an older
   * report would take traffic from a server that has become ready since.
   */
  async put(report: NodeReport): Promise<void> {
    if (!this.#heard.has(report.node) && this.#heard.size >= nodesMax) {
      throw new MusterError('overloaded', `There are ${nodesMax} nodes already; no more are taken.`);
    }
    this.#heard.set(report.node, { report, heardAt: this.#now() });
    for (const listener of this.#listeners) listener();
    if (this.#written.get(report.node) !== lasting(report)) await this.#save();
  }

  /** All last reports, also those of silent nodes. */
  all(): HeardReport[] {
    return [...this.#heard.values()];
  }

  /** Names of the nodes that are heard of. */
  live(): string[] {
    const now = this.#now();
    return this.all()
      .filter((heard) => !isSilent(heard, now))
      .map(({ report }) => report.node)
      .sort();
  }

  /** Writes what is not on disk yet. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#save();
  }

  async #save(): Promise<void> {
    this.#writing = this.#writing.then(async () => {
      for (const { report } of this.all()) {
        const text = lasting(report);
        if (this.#written.get(report.node) === text) continue;
        try {
          await this.#routing.saveReport(report);
          this.#written.set(report.node, text);
        } catch (error) {
          this.#log.warn({ err: error, node: report.node }, 'a node report could not be stored');
        }
      }
    });
    await this.#writing;
  }
}

/** What of a report is worth a write: not its time, nor the progress of transfers. */
function lasting(report: NodeReport): string {
  return JSON.stringify({ ...report, at: '', transfers: [] });
}
