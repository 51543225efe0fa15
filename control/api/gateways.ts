import { MusterError } from '../../domain/errors.ts';
import type { GatewayList } from '../../domain/control/internal-api.schema.ts';
import type { GatewayReport } from '../../domain/route-table/route-table.schema.ts';

const gatewaysMax = 256;

interface Gateway {
  readonly connectedAt: string;
  /** Open streams; two for a moment when a gateway reconnects before its old socket is known to be dead. */
  streams: number;
  version: number;
  draining: GatewayReport['draining'];
}

/** Gateways whose route stream is open, and what they last said of themselves. */
export class Gateways {
  readonly #gateways = new Map<string, Gateway>();

  /** @returns what to call when the stream is closed */
  connect(gateway: string, now: string): () => void {
    const known = this.#gateways.get(gateway);
    if (known === undefined && this.#gateways.size >= gatewaysMax) {
      throw new MusterError('overloaded', `There are ${gatewaysMax} gateways already; no more are taken.`);
    }
    const entry = known ?? { connectedAt: now, streams: 0, version: 0, draining: {} };
    entry.streams += 1;
    this.#gateways.set(gateway, entry);
    return () => {
      entry.streams -= 1;
      if (entry.streams === 0) this.#gateways.delete(gateway);
    };
  }

  /** A gateway without an open stream is not listed, so its word is not kept. */
  report(report: GatewayReport): void {
    const entry = this.#gateways.get(report.gateway);
    if (entry === undefined) return;
    entry.version = report.version;
    entry.draining = report.draining;
  }

  list(): GatewayList['gateways'] {
    return [...this.#gateways]
      .map(([gateway, { version, draining, connectedAt }]) => ({ gateway, version, draining, connectedAt }))
      .sort((a, b) => (a.gateway < b.gateway ? -1 : 1));
  }
}
