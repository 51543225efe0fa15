import cluster from 'node:cluster';
import type { Worker } from 'node:cluster';
import type { Logger } from 'pino';
import { Registry } from 'prom-client';
import type { RouteTable } from '../../domain/route-table/route-table.schema.ts';
import { plainMetrics } from '../observe/plain-metrics.ts';
import type { TableSource } from '../route-table/table-source.ts';
import { isMessage } from './messages.ts';
import type { MetricJson, ToPrimary, ToWorker } from './messages.ts';
import { Numbers } from './numbers.ts';

/**
 * One gateway in several processes that share its port. This process accepts connections and deals them out in turn
 * (node:cluster): with SO_REUSEPORT the kernel deals by a hash, so that of 64 connections one process may hold twice
 * as many as the other, and those waiting at a process that dies are lost. A connection is dealt once and then lives
 * in its process, so a request costs nothing more. It also reads the routes file for all of them, starts again what
 * dies, and adds their metrics up.
 */
export interface PrimaryOptions {
  readonly processes: number;
  readonly logger: Logger;
  /** How long a stopping process may take before it is killed. */
  readonly stopMs: number;
  /** Waits between the restarts of one process: doubled from the first to the last while it dies young. */
  readonly backoffMsMin: number;
  readonly backoffMsMax: number;
  /** A process that lived so long did not die young. */
  readonly settledMs: number;
  /** How long a scrape waits for a process; then its last numbers stand in. */
  readonly numbersMs: number;
}

export const defaultPrimaryOptions: Omit<PrimaryOptions, 'processes' | 'logger' | 'stopMs'> = {
  backoffMsMin: 100,
  backoffMsMax: 5_000,
  settledMs: 10_000,
  numbersMs: 1_000,
};

/** A process ended with this code before the gateway ever listened. */
export class StartFailed extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`a process of the gateway ended with exit code ${exitCode}`);
    this.exitCode = exitCode;
  }
}

export class Primary {
  private readonly options: PrimaryOptions;
  private readonly numbers = new Numbers();
  private readonly own = new Registry();
  private readonly workers = new Map<number, Worker>();
  /** Questions for numbers that are not answered, by process and id. */
  private readonly waiting = new Map<string, () => void>();
  private readonly starting = new Map<number, () => void>();
  private readonly timers = new Set<NodeJS.Timeout>();
  private table: RouteTable | null = null;
  private questions = 0;
  private restarts = 0;
  private refused = 0;
  private isStopping = false;
  private onGone: () => void = () => undefined;

  constructor(options: PrimaryOptions) {
    this.options = options;
    this.registerMetrics();
  }

  /** To every process, and to each that starts later. */
  setTable(table: RouteTable): void {
    this.table = table;
    for (const worker of this.workers.values()) tell(worker, { muster: 'table', table });
  }

  /** A table that was wrong: all processes keep the last good one. */
  refuse(why: string): void {
    this.refused += 1;
    this.options.logger.error({ why }, 'a route table was refused; the last good one stays in use');
  }

  /**
   * Resolves when all processes listen.
   * @param source of tables for all processes; null when each has its own
   * @throws StartFailed when the first process ends before it listens: it has said why on standard error
   */
  async start(source: TableSource | null): Promise<void> {
    cluster.schedulingPolicy = cluster.SCHED_RR;
    cluster.setupPrimary({ serialization: 'advanced' });
    await source?.first();
    // One by one at first: what is wrong (a port in use) is said once.
    await this.listening(this.fork(this.options.backoffMsMin));
    const others = Array.from({ length: this.options.processes - 1 }, () =>
      this.listening(this.fork(this.options.backoffMsMin)),
    );
    await Promise.all(others);
    source?.follow();
  }

  /** Every process finishes its requests; one that takes too long is killed. */
  async stop(): Promise<void> {
    this.isStopping = true;
    for (const timer of this.timers) clearTimeout(timer);
    if (this.workers.size === 0) return;
    const gone = new Promise<void>((resolve) => (this.onGone = resolve));
    for (const worker of this.workers.values()) worker.process.kill('SIGTERM');
    const kill = setTimeout(() => {
      for (const worker of this.workers.values()) worker.process.kill('SIGKILL');
    }, this.options.stopMs);
    await gone;
    clearTimeout(kill);
  }

  private fork(backoffMs: number): Worker {
    const { logger } = this.options;
    const worker = cluster.fork();
    const startedMs = performance.now();
    this.workers.set(worker.id, worker);
    worker.on('message', (message: unknown) => {
      if (isMessage(message)) this.hear(worker, message as ToPrimary);
    });
    worker.on('error', (error) => {
      logger.warn({ err: error, worker: worker.id }, 'the channel to a process of the gateway failed');
    });
    worker.once('online', () => {
      if (this.table !== null) tell(worker, { muster: 'table', table: this.table });
    });
    worker.once('exit', (code, signal) => {
      this.workers.delete(worker.id);
      this.starting.delete(worker.id);
      this.numbers.end(worker.id);
      if (this.workers.size === 0) this.onGone();
      if (this.isStopping) return;
      const { settledMs, backoffMsMin, backoffMsMax } = this.options;
      const wait = performance.now() - startedMs >= settledMs ? backoffMsMin : backoffMs;
      logger.error({ worker: worker.id, code, signal, restartMs: wait }, 'a process of the gateway ended');
      this.later(wait, () => {
        this.restarts += 1;
        this.fork(Math.min(backoffMsMax, wait * 2));
      });
    });
    return worker;
  }

  private listening(worker: Worker): Promise<void> {
    return new Promise((resolve, reject) => {
      this.starting.set(worker.id, resolve);
      worker.once('exit', (code: number | null) => {
        reject(new StartFailed(code ?? 1));
      });
    });
  }

  private hear(worker: Worker, message: ToPrimary): void {
    if (message.muster === 'ready') {
      this.starting.get(worker.id)?.();
      this.starting.delete(worker.id);
      return;
    }
    if (message.muster === 'purged') {
      for (const other of this.workers.values()) if (other !== worker) tell(other, message);
      return;
    }
    this.numbers.set(worker.id, message.metrics);
    if (message.muster === 'numbers') {
      this.waiting.get(`${worker.id} ${message.id}`)?.();
      return;
    }
    this.scrape(worker.id)
      .catch((error: unknown) => {
        this.options.logger.error({ err: error }, 'metrics of all processes could not be added up');
        return null;
      })
      .then((text) => {
        tell(worker, { muster: 'scraped', id: message.id, text });
      })
      .catch(() => undefined); // the asker is gone
  }

  /** @param asker whose numbers came with its question */
  private async scrape(asker: number): Promise<string> {
    const others = [...this.workers.values()].filter(({ id }) => id !== asker);
    await Promise.all(others.map((worker) => this.ask(worker)));
    return this.numbers.text((await this.own.getMetricsAsJSON()) as unknown as MetricJson[]);
  }

  private ask(worker: Worker): Promise<void> {
    this.questions += 1;
    const id = this.questions;
    return new Promise((resolve) => {
      const key = `${worker.id} ${id}`;
      const done = () => {
        clearTimeout(timer);
        worker.removeListener('exit', done);
        this.waiting.delete(key);
        resolve();
      };
      const timer = setTimeout(done, this.options.numbersMs);
      this.waiting.set(key, done);
      worker.once('exit', done);
      tell(worker, { muster: 'numbers?', id });
    });
  }

  private later(ms: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      act();
    }, ms);
    this.timers.add(timer);
  }

  private registerMetrics(): void {
    const { gauge, counter } = plainMetrics(this.own, 'muster_gateway_');
    gauge('processes', 'Processes of this gateway that run', () => this.workers.size);
    counter(
      'process_restarts_total',
      'Processes of this gateway that ended and were started again',
      () => this.restarts,
    );
    counter('route_table_refused_total', 'Route tables refused whole', () => this.refused);
  }
}

/** A process that is ending does not hear; its exit says so. */
function tell(worker: Worker, message: ToWorker): void {
  if (worker.isConnected()) worker.send(message, () => undefined);
}
