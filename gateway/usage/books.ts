import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { DataFolder } from '../../domain/process/data-folder.ts';
import { LeaseJournal } from '../budget/journal.ts';
import type { ControlLink } from '../control-proxy/control-link.ts';
import { plainMetrics } from '../observe/plain-metrics.ts';
import type { Passage } from '../passage.ts';
import type { Accounting, AccountingOptions } from './accounting.ts';
import type { Meter } from './meters.ts';
import { UsageShipper } from './usage-shipper.ts';
import { UsageSpool } from './usage-spool.ts';

/** A gateway's books on disk: the journal of its leases where it has no Redis, records for the ledger where it has one. */
export interface BooksOptions {
  readonly folder: Pick<DataFolder, 'budgets' | 'usage'>;
  /** Null: it stands alone, and keeps no records beyond its metrics and its log. */
  readonly gatewayId: string | null;
  readonly processes: number;
  readonly isShared: boolean;
  readonly logger: Logger;
}

export interface BookedGateway {
  readonly accounting: Accounting;
  readonly control: ControlLink;
  readonly metrics: { readonly registry: Registry };
}

export class Books {
  readonly accounting: AccountingOptions;
  private readonly spool: UsageSpool | null;
  private readonly gatewayId: string;
  private readonly logger: Logger;
  private shipper: UsageShipper | null = null;
  private gateway: BookedGateway | null = null;

  private constructor(options: BooksOptions, journal: LeaseJournal | null, spool: UsageSpool | null) {
    this.gatewayId = options.gatewayId ?? randomBytes(8).toString('hex');
    this.logger = options.logger;
    this.spool = spool;
    this.accounting = {
      gatewayId: this.gatewayId,
      processes: options.processes,
      ...(journal === null ? {} : { journal }),
      onUsed: (passage, meter) => spool?.add(this.recordOf(passage, meter)),
    };
  }

  /** A folder that cannot be used is said, and counting goes on in memory. */
  static async open(options: BooksOptions): Promise<Books> {
    const { folder, gatewayId, isShared, logger, processes } = options;
    try {
      const journal = isShared
        ? null
        : await LeaseJournal.open({ folder: folder.budgets, processes, logger, now: Date.now });
      const spool = gatewayId === null ? null : new UsageSpool(folder.usage, gatewayId, logger);
      return new Books(options, journal, spool);
    } catch (err) {
      logger.error({ err }, 'budgets and usage cannot be kept on disk: they are counted in memory alone');
      return new Books(options, null, null);
    }
  }

  /** The gateway is built: what is left by others, and what comes, is sent from now on. */
  follow(gateway: BookedGateway): void {
    this.gateway = gateway;
    const { spool } = this;
    if (spool === null) return;
    const shipper = new UsageShipper(spool, {
      gatewayId: this.gatewayId,
      post: (path, text, signal) => post(gateway.control, path, text, signal),
      shares: () => gateway.accounting.shares(),
      logger: this.logger,
    });
    registerSpoolMetrics(gateway.metrics.registry, spool, shipper);
    shipper.start();
    this.shipper = shipper;
  }

  /** Slices go back, and records to the ledger; while there still is a way to both. */
  async close(): Promise<void> {
    await this.gateway?.accounting.close();
    if (this.shipper === null) this.spool?.close();
    else await this.shipper.close();
  }

  /** By hand: it is written for each request. */
  private recordOf(passage: Passage, meter: Meter): string {
    const { usage, budgets } = passage;
    let accounts = '';
    if (budgets !== null)
      for (const { keyText } of budgets) accounts = accounts === '' ? keyText : `${accounts},${keyText}`;
    return (
      `"requestId":${JSON.stringify(passage.requestId)},"at":${Date.now()},${meter.ledgerText},` +
      `"inputTokens":${usage?.inputTokens ?? 0},"cachedInputTokens":${usage?.cachedInputTokens ?? 0},` +
      `"outputTokens":${usage?.outputTokens ?? 0},"costMicros":${passage.costMicros},` +
      `"currency":"${this.gateway?.accounting.currency ?? 'USD'}",` +
      `"estimated":${passage.isUsageEstimated ? 'true' : 'false'},"budgets":[${accounts}]`
    );
  }
}

const postMs = 5_000;

async function post(
  { client }: ControlLink,
  path: string,
  text: string,
  signal: AbortSignal,
): Promise<'taken' | 'refused'> {
  if (client === null) throw new Error('the gateway has no control API now');
  const { statusCode, body } = await client.forward(path, {
    method: 'POST',
    body: Buffer.from(text),
    headers: { 'content-type': 'application/json' },
    headersTimeout: postMs,
    bodyTimeout: postMs,
    signal,
  });
  await body.dump();
  if (statusCode === 200) return 'taken';
  if (statusCode === 400 || statusCode === 413 || statusCode === 422) return 'refused';
  throw new Error(`the control API answered ${statusCode}`);
}

function registerSpoolMetrics(registry: Registry, spool: UsageSpool, shipper: UsageShipper): void {
  const plain = plainMetrics(registry, 'muster_gateway_usage_');
  plain.gauge('pending', 'Usage records in memory alone', () => spool.pendingCount);
  plain.counter('shipped_total', 'Usage records that the ledger has', () => shipper.shipped);
  plain.counter('refused_total', 'Usage records that the ledger refused as malformed', () => shipper.refused);
  plain.counter('dropped_total', 'Usage records lost: the disk was full for too long', () => spool.dropped);
  plain.counter('damaged_total', 'Lines of usage files that were damaged', () => spool.damaged);
  plain.counter(
    'write_failures_total',
    'Times that usage records could not be written to disk',
    () => spool.writeFailures,
  );
}
