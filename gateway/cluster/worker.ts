import cluster from 'node:cluster';
import type { Registry } from 'prom-client';
import type { RouteTable } from '../../domain/route-table/route-table.schema.ts';
import type { TableSource } from '../route-table/table-source.ts';
import { isMessage } from './messages.ts';
import type { MetricJson, ToPrimary, ToWorker } from './messages.ts';

/** What a process of a gateway with several has from the first of them: its tables, and the numbers of all. */
export class PrimaryLink {
  private readonly scrapes = new Map<number, (text: string | null) => void>();
  private readonly scrapeMs: number;
  private registry: Registry | null = null;
  private onTable: ((table: RouteTable) => void) | null = null;
  /** It may come before somebody asks for it. */
  private table: RouteTable | null = null;
  private count = 0;

  /** @param scrapeMs how long /metrics waits for the first process */
  constructor(scrapeMs = 3_000) {
    this.scrapeMs = scrapeMs;
    process.on('message', (message: unknown) => {
      if (isMessage(message)) this.hear(message as ToWorker);
    });
    // By itself a worker ends at once when the first process is gone; it must finish its requests.
    process.prependOnceListener('disconnect', () => {
      if (cluster.worker !== undefined) cluster.worker.exitedAfterDisconnect = true;
    });
  }

  /** From now on this process's numbers are told to the first one when it asks. */
  tellNumbersOf(registry: Registry): void {
    this.registry = registry;
  }

  /** Every port is open. */
  ready(): void {
    send({ muster: 'ready' });
  }

  /**
   * The metrics of all processes.
   * @throws when the first process does not answer in time: a part of the numbers would be wrong ones
   */
  async scrape(registry: Registry): Promise<string> {
    const metrics = await numbersOf(registry);
    this.count += 1;
    const id = this.count;
    const text = await new Promise<string | null>((resolve) => {
      const timer = setTimeout(resolve, this.scrapeMs, null);
      this.scrapes.set(id, (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
      send({ muster: 'scrape', id, metrics });
    });
    this.scrapes.delete(id);
    if (text === null) throw new Error('the first process of the gateway did not add up the metrics');
    return text;
  }

  /** @param apply takes a table that the first process has checked */
  tables(apply: (table: RouteTable) => void): TableSource {
    return {
      first: () =>
        new Promise((resolve) => {
          this.onTable = (table) => {
            apply(table);
            resolve();
          };
          if (this.table !== null) this.onTable(this.table);
        }),
      follow: () => undefined,
      stop: () => Promise.resolve(),
    };
  }

  private hear(message: ToWorker): void {
    switch (message.muster) {
      case 'table':
        this.table = message.table;
        this.onTable?.(message.table);
        return;
      case 'scraped':
        this.scrapes.get(message.id)?.(message.text);
        return;
      case 'numbers?':
        this.answerNumbers(message.id).catch(() => undefined); // its last numbers stand in
        return;
      case 'purged':
      // The cache listens for it itself (cache/siblings.ts).
    }
  }

  private async answerNumbers(id: number): Promise<void> {
    if (this.registry !== null) send({ muster: 'numbers', id, metrics: await numbersOf(this.registry) });
  }
}

async function numbersOf(registry: Registry): Promise<readonly MetricJson[]> {
  const metrics = (await registry.getMetricsAsJSON()) as unknown as MetricJson[];
  // Plain data alone can be sent.
  return metrics.map(({ name, type, help, values, aggregator }) => ({
    name,
    type,
    help,
    values,
    aggregator,
  }));
}

function send(message: ToPrimary): void {
  if (process.connected) process.send?.(message, undefined, undefined, () => undefined);
}
