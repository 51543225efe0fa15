import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { BudgetShareReport } from '../../domain/usage/usage-record.schema.ts';
import { splitRecords } from './usage-spool.ts';
import type { SpoolPart, UsageSpool } from './usage-spool.ts';

/**
 * Brings usage records to the ledger: what is on disk, oldest first, until the control API has said that it has them.
 * What is sent twice counts once, so a lost answer is simply sent again.
 */
export interface ShipperOptions {
  readonly gatewayId: string;
  /**
   * Posts a JSON text to a path of the control API.
   * @returns whether it was taken; refused: it is malformed and would be again
   * @throws when it is to be sent again
   */
  readonly post: (path: string, text: string, signal: AbortSignal) => Promise<'taken' | 'refused'>;
  readonly shares: () => readonly BudgetShareReport[];
  readonly logger: Logger;
  readonly everyMs?: number;
  /** Shares are told so often, records or not. */
  readonly sharesEveryMs?: number;
}

/** A batch of lines is some hundred records; the control API takes bodies of 4 MiB. */
const partBytes = 1024 * 1024;
const sharesAtOnce = 2_000;
const finishMs = 2_000;

export class UsageShipper {
  /** Records that the ledger has taken, new or not. */
  shipped = 0;
  refused = 0;
  failures = 0;
  private readonly spool: UsageSpool;
  private readonly options: ShipperOptions;
  private readonly stopping = new AbortController();
  private running: Promise<void> | null = null;
  private sharesAtMs = -Infinity;

  constructor(spool: UsageSpool, options: ShipperOptions) {
    this.spool = spool;
    this.options = options;
  }

  start(): void {
    this.running ??= this.run();
  }

  /** Sends what is left, for a moment; the rest is sent by the next process that finds it. */
  async close(): Promise<void> {
    this.stopping.abort();
    await this.running;
    this.spool.close();
    this.sharesAtMs = -Infinity;
    await this.ship(AbortSignal.timeout(finishMs)).catch(() => undefined);
  }

  /** @throws when the control API does not take it */
  private async ship(signal: AbortSignal): Promise<void> {
    this.spool.flush();
    if (performance.now() - this.sharesAtMs > (this.options.sharesEveryMs ?? 5_000))
      await this.tellShares(signal);
    let part = await this.spool.next(partBytes);
    while (part !== null) {
      await this.send(part, signal);
      part.done();
      part = await this.spool.next(partBytes);
    }
  }

  private async send({ gateway, records, count }: SpoolPart, signal: AbortSignal): Promise<void> {
    if (count === 0) return;
    const refused = (await this.isTaken(gateway, records, signal))
      ? 0
      : await this.sendApart(gateway, splitRecords(records), signal);
    this.shipped += count - refused;
    if (refused === 0) return;
    this.refused += refused;
    this.options.logger.error({ gateway, count: refused }, 'the ledger refused usage records as malformed');
  }

  /**
   * Of records that were refused together: a record that the ledger will never take must not take those beside it along,
   * nor hold up those behind it. Halves are sent apart, so that few bad ones cost few reports; at most two a record.
   * @returns how many were refused alone
   */
  private async sendApart(gateway: string, records: readonly string[], signal: AbortSignal): Promise<number> {
    if (records.length < 2) return records.length;
    const middle = records.length >>> 1;
    let refused = 0;
    for (const half of [records.slice(0, middle), records.slice(middle)]) {
      if (!(await this.isTaken(gateway, half.join(','), signal)))
        refused += await this.sendApart(gateway, half, signal);
    }
    return refused;
  }

  private async isTaken(gateway: string, records: string, signal: AbortSignal): Promise<boolean> {
    const text = `{"gateway":${JSON.stringify(gateway)},"records":[${records}],"shares":[]}`;
    return (await this.options.post('/internal/usage', text, signal)) === 'taken';
  }

  private async tellShares(signal: AbortSignal): Promise<void> {
    const shares = this.options.shares();
    if (shares.length === 0) return;
    for (let at = 0; at < shares.length; at += sharesAtOnce) {
      const some = shares.slice(at, at + sharesAtOnce);
      const report = { gateway: this.options.gatewayId, records: [], shares: some };
      await this.options.post('/internal/usage', JSON.stringify(report), signal);
    }
    this.sharesAtMs = performance.now();
  }

  private isStopping(): boolean {
    return this.stopping.signal.aborted;
  }

  private async run(): Promise<void> {
    const { everyMs = 1_000, logger } = this.options;
    const { signal } = this.stopping;
    while (!this.isStopping()) {
      try {
        await this.ship(signal);
        this.failures = 0;
      } catch (error) {
        this.failures += 1;
        if (this.failures === 1 && !this.isStopping())
          logger.warn({ err: error }, 'the ledger did not take usage records: they are kept and sent again');
      }
      await sleep(everyMs, undefined, { signal }).catch(() => undefined);
    }
  }
}
