import { MusterError } from '../../domain/errors.ts';
import type { GatewayList } from '../../domain/control/internal-api.schema.ts';
import type { GatewayReport } from '../../domain/route-table/route-table.schema.ts';

const gatewaysMax = 256;
/**
 * A gateway whose stream broke is most likely reconnecting, and still serves from the table it had: it counts as late
 * for this long. So does every gateway that an API which has just started knew before.
 */
const reconnectMs = 10_000;

interface Gateway {
  readonly connectedAt: string;
  /** Open streams; two for a moment when a gateway reconnects before its old socket is known to be dead. */
  streams: number;
  /** When its last stream was closed; its word is still good for a while. */
  goneAt: number;
  version: number;
  draining: GatewayReport['draining'];
}

/** Gateways whose route stream is open, or was a moment ago, and what they last said of themselves. */
export class Gateways {
  readonly #gateways = new Map<string, Gateway>();
  readonly #now: () => number;
  readonly #startedAt: number;
  /** An earlier API published routes: gateways that it knew may be out there. */
  readonly #hasPast: boolean;

  constructor(now: () => number, hasPast: boolean) {
    this.#now = now;
    this.#startedAt = now();
    this.#hasPast = hasPast;
  }

  /** @returns what to call when the stream is closed */
  connect(gateway: string, now: string): () => void {
    this.#forgetGone();
    const known = this.#gateways.get(gateway);
    if (known === undefined && this.#gateways.size >= gatewaysMax) {
      throw new MusterError('overloaded', `There are ${gatewaysMax} gateways already; no more are taken.`);
    }
    const entry = known ?? { connectedAt: now, streams: 0, goneAt: 0, version: 0, draining: {} };
    entry.streams += 1;
    this.#gateways.set(gateway, entry);
    return () => {
      entry.streams -= 1;
      if (entry.streams === 0) entry.goneAt = this.#now();
    };
  }

  /** The word of a gateway that is not listed is not kept. */
  report(report: GatewayReport): void {
    const entry = this.#gateways.get(report.gateway);
    if (entry === undefined) return;
    entry.version = report.version;
    entry.draining = report.draining;
  }

  list(): GatewayList {
    this.#forgetGone();
    const gateways = [...this.#gateways]
      .map(([gateway, { version, draining, connectedAt }]) => ({ gateway, version, draining, connectedAt }))
      .sort((a, b) => (a.gateway < b.gateway ? -1 : 1));
    const isSettled = gateways.length > 0 || !this.#hasPast || this.#now() - this.#startedAt > reconnectMs;
    return { gateways, isSettled };
  }

  #forgetGone(): void {
    for (const [gateway, { streams, goneAt }] of this.#gateways) {
      if (streams === 0 && this.#now() - goneAt > reconnectMs) this.#gateways.delete(gateway);
    }
  }
}
