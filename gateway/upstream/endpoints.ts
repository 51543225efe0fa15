import { Health } from '../../domain/resilience/outlier.ts';
import type { Watched } from '../../domain/resilience/outlier.ts';
import { PrefixState } from '../../domain/routing/prefix/prefix-pick.ts';
import type { PrefixLoad } from '../../domain/routing/prefix/prefix-pick.ts';
import type { Connect, Upstream } from './upstream.ts';

/**
 * Live state by address: requests in flight, lately refused, and the pool of connections. It outlives route
 * tables. An address that leaves the table is kept until its last request ends (the control API is told how many
 * are left, so that nobody stops a server under them), then its connections are closed.
 */
export interface Endpoint extends Watched, PrefixLoad {
  readonly address: string;
  readonly upstream: Upstream;
  isListed: boolean;
  elsewhere: number;
  /** It is no longer here: its address, should it return, has a new state. */
  isGone: boolean;
}

export class Endpoints {
  private readonly byAddress = new Map<string, Endpoint>();
  private readonly connect: Connect;
  private readonly closing: (() => void)[] = [];

  constructor(connect: Connect) {
    this.connect = connect;
  }

  /** The state of an address, made when new. */
  bind(address: string): Endpoint {
    const known = this.byAddress.get(address);
    if (known !== undefined) return known;
    const made = {
      address,
      upstream: this.connect(address),
      inFlight: 0,
      elsewhere: 0,
      isGone: false,
      skipUntilMs: 0,
      inFlightMax: Infinity,
      places: Infinity,
      health: new Health(),
      prefix: new PrefixState(address),
      isListed: true,
    };
    this.byAddress.set(address, made);
    return made;
  }

  /** Called with each new table's addresses. */
  list(addresses: ReadonlySet<string>): void {
    for (const endpoint of this.byAddress.values()) {
      endpoint.isListed = addresses.has(endpoint.address);
      this.retire(endpoint);
    }
  }

  begin(endpoint: Endpoint): void {
    endpoint.inFlight += 1;
  }

  end(endpoint: Endpoint): void {
    endpoint.inFlight -= 1;
    if (!endpoint.isListed) this.retire(endpoint);
  }

  /** Those of the table, and those that still have requests. */
  all(): Iterable<Endpoint> {
    return this.byAddress.values();
  }

  /** Requests in flight to addresses that the table no longer has. */
  draining(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { address, inFlight, isListed } of this.byAddress.values()) {
      if (!isListed && inFlight > 0) counts[address] = inFlight;
    }
    return counts;
  }

  /** For what asks endpoints by itself. */
  onClose(listener: () => void): void {
    this.closing.push(listener);
  }

  close(): void {
    for (const listener of this.closing.splice(0)) listener();
    for (const { upstream } of this.byAddress.values()) upstream.close();
  }

  private retire(endpoint: Endpoint): void {
    // One that is gone may have had a late request: the address can be another's by now.
    if (endpoint.isGone || endpoint.isListed || endpoint.inFlight > 0) return;
    this.byAddress.delete(endpoint.address);
    endpoint.isGone = true;
    endpoint.upstream.close();
  }
}
