import { randomBytes } from 'node:crypto';
import { Counter } from 'prom-client';
import type { Registry } from 'prom-client';
import { plainMetrics } from '../observe/plain-metrics.ts';
import type { SharedRedis } from '../redis/shared-redis.ts';
import type { Endpoint, Endpoints } from '../upstream/endpoints.ts';
import { formatMessage, parseMessage, peerLimits } from './peer-message.ts';

/**
 * Several gateways (and several processes of one) choose among the same servers. Each tells the others what it has in
 * flight and which prompts it sent where, in small batches over Redis; each adds what it hears to what it knows. A peer
 * that falls silent is forgotten after seconds. Without Redis each goes by its own requests alone, and rendezvous
 * hashing still sends equal prompts to equal servers.
 */
export interface PeersDeps {
  readonly redis: SharedRedis;
  readonly endpoints: Endpoints;
  readonly registry: Registry;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  readonly options?: Partial<PeersOptions>;
}

interface PeersOptions {
  /** Between two messages; none is sent while nothing changed. */
  readonly everyMs: number;
  /** Between two messages with all counts, which are also the sign of life. */
  readonly allEveryMs: number;
  /** Silence after which a peer counts as gone. */
  readonly silenceMsMax: number;
  readonly peersMax: number;
  readonly channel: string;
}

const defaults: PeersOptions = {
  everyMs: 100,
  allEveryMs: 1_000,
  silenceMsMax: 3_500,
  peersMax: 256,
  channel: 'muster:gateway:peers:1',
};

interface Peer {
  /** Requests by the endpoint they were added to. */
  readonly added: Map<Endpoint, number>;
  heardAtMs: number;
}

export class Peers {
  readonly id = randomBytes(8).toString('hex');
  readonly counts = { sent: 0, received: 0, refused: 0, blocksSent: 0, blocksDropped: 0, blocksReceived: 0 };
  private readonly deps: PeersDeps;
  private readonly options: PeersOptions;
  private readonly peers = new Map<string, Peer>();
  private readonly told = new Map<string, number>();
  private blocks = new Map<string, number[]>();
  private blockCount = 0;
  private allAtMs = -Infinity;
  private isSending = false;
  private readonly timer: NodeJS.Timeout;

  constructor(deps: PeersDeps) {
    this.deps = deps;
    this.options = { ...defaults, ...deps.options };
    const { channel, everyMs } = this.options;
    deps.redis.hear(channel, (text) => {
      this.receive(text);
    });
    this.timer = setInterval(() => {
      this.round();
    }, everyMs);
    this.timer.unref();
    registerMetrics(deps.registry, this);
  }

  get size(): number {
    return this.peers.size;
  }

  /** Blocks [from, count) are new at this server. */
  learnt(endpoint: Endpoint, keys: Int32Array, from: number, count: number): void {
    if (from >= count) return;
    if (this.blockCount + count - from > peerLimits.blocksMax) {
      this.counts.blocksDropped += count - from;
      return;
    }
    this.blockCount += count - from;
    const known = this.blocks.get(endpoint.address);
    const list = known ?? [];
    if (known === undefined) this.blocks.set(endpoint.address, list);
    for (let at = from; at < count; at += 1) list.push(keys[at] ?? 0);
  }

  close(): void {
    clearInterval(this.timer);
    for (const id of [...this.peers.keys()]) this.forget(id);
  }

  private round(): void {
    const now = this.deps.nowMs();
    for (const [id, peer] of this.peers)
      if (now - peer.heardAtMs > this.options.silenceMsMax) this.forget(id);
    if (this.deps.redis.isReady && !this.isSending) this.send(now);
  }

  private send(now: number): void {
    const isAll = now - this.allAtMs >= this.options.allEveryMs;
    const inFlight = this.changed(isAll);
    if (!isAll && inFlight.size === 0 && this.blockCount === 0) return;
    const blocks = new Map([...this.blocks].map(([address, keys]) => [address, Int32Array.from(keys)]));
    this.counts.blocksSent += this.blockCount;
    this.blocks = new Map();
    this.blockCount = 0;
    if (isAll) this.allAtMs = now;
    this.isSending = true;
    const text = formatMessage({ from: this.id, inFlight, isAll, blocks });
    void this.deps.redis
      .ask((client) => client.publish(this.options.channel, text))
      .then((answer) => {
        this.isSending = false;
        if (answer !== undefined) this.counts.sent += 1;
        else this.allAtMs = -Infinity; // nobody heard it: say all again
      });
  }

  private changed(isAll: boolean): Map<string, number> {
    const out = new Map<string, number>();
    for (const { address, inFlight } of this.deps.endpoints.all()) {
      if (out.size >= peerLimits.addressesMax) break;
      const before = this.told.get(address) ?? 0;
      if (isAll ? inFlight > 0 : inFlight !== before) out.set(address, inFlight);
    }
    if (isAll) this.told.clear();
    for (const [address, count] of out) this.told.set(address, count);
    return out;
  }

  private receive(text: string): void {
    const message = parseMessage(text);
    if (message === null) {
      this.counts.refused += 1;
      return;
    }
    if (message.from === this.id) return;
    const peer = this.peer(message.from);
    if (peer === null) return;
    this.counts.received += 1;
    peer.heardAtMs = this.deps.nowMs();
    for (const endpoint of this.deps.endpoints.all()) {
      const count = message.inFlight.get(endpoint.address);
      if (count !== undefined || message.isAll) put(peer, endpoint, count ?? 0);
      const keys = message.blocks.get(endpoint.address);
      if (keys === undefined) continue;
      endpoint.prefix.blocks.add(keys, keys.length);
      this.counts.blocksReceived += keys.length;
    }
    if (message.isAll)
      for (const endpoint of peer.added.keys()) if (endpoint.isGone) peer.added.delete(endpoint);
  }

  private peer(id: string): Peer | null {
    const known = this.peers.get(id);
    if (known !== undefined) return known;
    if (this.peers.size >= this.options.peersMax) {
      this.counts.refused += 1;
      return null;
    }
    const made = { added: new Map<Endpoint, number>(), heardAtMs: 0 };
    this.peers.set(id, made);
    return made;
  }

  private forget(id: string): void {
    const peer = this.peers.get(id);
    this.peers.delete(id);
    for (const [endpoint, count] of peer?.added ?? []) endpoint.elsewhere -= count;
  }
}

function put(peer: Peer, endpoint: Endpoint, count: number): void {
  endpoint.elsewhere += count - (peer.added.get(endpoint) ?? 0);
  if (count === 0) peer.added.delete(endpoint);
  else peer.added.set(endpoint, count);
}

function registerMetrics(registry: Registry, peers: Peers): void {
  plainMetrics(registry, 'muster_gateway_').gauge(
    'peers',
    'Other gateway processes that share their load with this one',
    () => peers.size,
  );
  new Counter({
    name: 'muster_gateway_peers_total',
    help: 'Messages between gateway processes, and prompt blocks in them, by what became of them',
    labelNames: ['what'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [what, count] of Object.entries(peers.counts)) this.inc({ what }, count);
    },
  });
}
