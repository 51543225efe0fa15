import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { GatewayReport } from '../../domain/route-table/route-table.schema.ts';
import type { Endpoints } from '../upstream/endpoints.ts';
import type { ControlClient } from './control-client.ts';
import type { TableStore } from './table-store.ts';

/**
 * Tells the control API which table this gateway serves from and what still runs on servers that left it, so that
 * a server is stopped only when no gateway needs it: at once after each new table, often while something drains,
 * else every few seconds. One report at a time; a failed one is simply followed by the next.
 */
export interface ReporterOptions {
  readonly gateway: string;
  readonly drainingEveryMs: number;
  readonly everyMs: number;
}

export const defaultReporterOptions: Omit<ReporterOptions, 'gateway'> = {
  drainingEveryMs: 500,
  everyMs: 5_000,
};

export class Reporter {
  private readonly client: ControlClient;
  private readonly store: TableStore;
  private readonly endpoints: Endpoints;
  private readonly options: ReporterOptions;
  private readonly logger: Logger;
  private readonly stopping = new AbortController();
  private running: Promise<void> | null = null;
  private wake = new AbortController();

  constructor(
    client: ControlClient,
    store: TableStore,
    endpoints: Endpoints,
    options: ReporterOptions,
    logger: Logger,
  ) {
    this.client = client;
    this.store = store;
    this.endpoints = endpoints;
    this.options = options;
    this.logger = logger;
    store.onApplied(() => {
      this.wake.abort();
    });
  }

  start(): void {
    this.running ??= this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      this.wake = new AbortController();
      const draining = await this.report();
      const signal = AbortSignal.any([this.stopping.signal, this.wake.signal]);
      const wait = draining ? this.options.drainingEveryMs : this.options.everyMs;
      await sleep(wait, undefined, { signal }).catch(() => undefined);
    }
  }

  /** @returns whether something drains */
  private async report(): Promise<boolean> {
    const routes = this.store.current();
    const draining = this.endpoints.draining();
    const isDraining = Object.keys(draining).length > 0;
    if (routes === null) return false;
    const report: GatewayReport = { gateway: this.options.gateway, version: routes.version, draining };
    try {
      await this.client.post('/internal/gateways/report', report, this.stopping.signal);
    } catch (error) {
      this.logger.debug({ err: error }, 'the control API did not take a report');
    }
    return isDraining;
  }
}
