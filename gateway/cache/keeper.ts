import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { CachePolicy } from '../../domain/cache/cache-policy.schema.ts';
import type { SharedRedis } from '../redis/shared-redis.ts';
import type { CacheGauges, CacheMetrics, UnkeptReason } from './cache-metrics.ts';
import { entryKey, refusalKey } from './entry.ts';
import type { Entry } from './entry.ts';
import { LocalStore, versionIdLength } from './local-store.ts';
import type { Lookup } from './lookup.ts';
import { Purges } from './purges.ts';
import type { Recorded } from './recorder.ts';
import type { Level } from './replay.ts';
import { SemanticIndex } from './semantic.ts';
import type { AskInternally } from './semantic.ts';
import { SharedStore } from './shared-store.ts';
import type { Siblings } from './siblings.ts';
import { serviceIdOf } from './versions.ts';
import type { Versions } from './versions.ts';

export interface Found {
  readonly entry: Entry;
  readonly level: Level;
}

/** All places where answers are kept, behind one look and one keep: memory, Redis, the index of prompts. */
export class Keeper {
  private readonly store = new LocalStore();
  private readonly shared: SharedStore | null;
  private readonly semantic: SemanticIndex;
  private readonly purges = new Purges();
  private readonly siblings: Siblings | null;
  private readonly metrics: CacheMetrics;
  private readonly versions: Versions;
  private readonly nowMs: () => number;
  /** Of the versions that the table has: answers of others are forgotten. */
  private alive: ReadonlySet<string> = new Set();

  constructor(
    deps: {
      readonly redis: SharedRedis | null;
      readonly siblings: Siblings | null;
      readonly ask: AskInternally;
      readonly logger: Logger;
      readonly nowMs: () => number;
    },
    metrics: CacheMetrics,
    versions: Versions,
  ) {
    const { redis, logger, nowMs } = deps;
    this.metrics = metrics;
    this.versions = versions;
    this.nowMs = nowMs;
    this.shared = redis === null ? null : new SharedStore(redis, metrics, logger, nowMs);
    this.semantic = new SemanticIndex(deps.ask, metrics, nowMs);
    this.siblings = deps.siblings;
    this.siblings?.listen((serviceId) => {
      this.forget(serviceId);
    });
  }

  /** Called once the versions are those of the new table. */
  use(policy: CachePolicy, isOn: boolean): void {
    this.store.resize(isOn ? policy.local.bytesMax : 0);
    this.semantic.use(isOn ? policy.local.vectorBytesMax : 0);
    this.shared?.use(isOn ? policy.shared : null);
    if (isOn && policy.shared.enabled) {
      this.shared?.listen((serviceId) => {
        this.forget(serviceId);
      });
    }
    const before = this.alive;
    this.alive = this.versions.allIds();
    for (const id of before) {
      if (this.alive.has(id)) continue;
      this.store.sweep((versionId) => !this.alive.has(versionId));
      return;
    }
  }

  gauges(): Omit<CacheGauges, 'flights' | 'waiting'> {
    const { store, semantic, shared } = this;
    return {
      entries: () => store.size,
      bytes: () => store.bytes,
      evictions: () => store.evictions,
      vectors: () => semantic.size,
      vectorBytes: () => semantic.bytes,
      isSharedUsable: () => shared?.isUsable() === true,
    };
  }

  /** From memory, at once. */
  local(lookup: Lookup): Entry | null {
    const { key, request, service } = lookup;
    const nowMs = this.nowMs();
    const answer = this.take(lookup, this.store.get(key.local, nowMs));
    if (answer !== null || service.rules.negativeTtlSeconds === 0) return answer;
    return this.take(lookup, this.store.get(refusalKey(key, request.unkeyed), nowMs));
  }

  /** True when a further look, which takes time, may find something. */
  canFindMore(lookup: Lookup): boolean {
    return this.shared?.isUsable() === true || this.semantic.isFor(lookup);
  }

  /** In Redis, then by what the prompt means. What Redis has is kept in memory too. */
  async find(lookup: Lookup): Promise<Found | null> {
    const shared = await this.findShared(lookup);
    if (shared !== null) return { entry: shared, level: 'shared' };
    if (!this.semantic.isFor(lookup)) return null;
    const neighbour = await this.semantic.find(lookup);
    if (neighbour === null) return null;
    const key = entryKey(lookup.key.version, neighbour.key.slice(versionIdLength));
    const kept = this.store.get(key.local, this.nowMs()) ?? (await this.getShared(lookup, key));
    if (kept === null) this.semantic.forget(lookup, neighbour.key);
    const entry = this.isFresh(lookup, kept) ? kept : null;
    if (entry?.status !== 200) return null;
    lookup.similarity = neighbour.similarity;
    return { entry, level: 'semantic' };
  }

  async findShared(lookup: Lookup): Promise<Entry | null> {
    const entry = this.take(lookup, await this.getShared(lookup, lookup.key));
    if (entry !== null && !this.isPurged(lookup)) this.store.set(lookup.key.local, entry);
    return entry;
  }

  private async getShared(lookup: Lookup, key: Lookup['key']): Promise<Entry | null> {
    const { rules } = lookup.service;
    const entry = (await this.shared?.get(key, rules.entryBytesMax)) ?? null;
    // It was there before a purge that is still under way.
    if (entry === null || this.purges.isBefore(key.version.serviceId, entry.storedAtMs)) return null;
    // The writer's clock may be ahead: an answer does not live longer than it would had we kept it now.
    const expiresAtMs = Math.min(entry.expiresAtMs, this.nowMs() + rules.ttlSeconds * 1000);
    const staleUntilMs = Math.min(entry.staleUntilMs, expiresAtMs + rules.staleSeconds * 1000);
    return staleUntilMs > this.nowMs() ? { ...entry, expiresAtMs, staleUntilMs } : null;
  }

  /** One of the gateways asks a server, the others wait for what it keeps while it has the lock. @returns null: ask */
  async awaitOthers(lookup: Lookup, sleep: (ms: number) => Promise<void>): Promise<Entry | null> {
    const { shared } = this;
    const lockMs = shared?.lockMs ?? 0;
    if (shared === null || lockMs === 0 || !shared.isUsable()) return null;
    lookup.lock = await shared.lock(lookup.key, lockMs);
    if (lookup.lock !== null) return null;
    const untilMs = this.nowMs() + lockMs;
    while (this.nowMs() < untilMs && !lookup.passage.isClosed && shared.isUsable()) {
      await sleep(lockPollMs);
      // Before the look: what its holder wrote is there by the time that the lock is gone.
      const isLocked = await shared.isLocked(lookup.key);
      const entry = await this.findShared(lookup);
      if (entry !== null || !isLocked) return entry;
    }
    return null;
  }

  /** Once its answer, if there is one, can be found by those that wait for the lock. */
  unlock(lookup: Lookup): void {
    const { shared } = this;
    const { lock, written } = lookup;
    lookup.lock = null;
    if (lock === null || shared === null) return;
    void (written ?? Promise.resolve()).then(() => {
      shared.unlock(lookup.key, lock);
    });
  }

  /** Keeps what a server said, under the version that said it. @returns why not, or null */
  keep(lookup: Lookup, recorded: Recorded): UnkeptReason | null {
    const why = recorded.kind === 'unfit' ? recorded.reason : this.put(lookup, recorded.entry);
    if (why !== null) this.metrics.count(this.metrics.unkept, why);
    return why;
  }

  private put(lookup: Lookup, entry: Entry): UnkeptReason | null {
    const { service, entry: via, candidate } = lookup.passage;
    const by = service === null ? null : this.versions.of(service, via);
    if (by?.key !== lookup.service.key) return 'other_service';
    // Its version's id would be made with the epoch of now, and it was asked for in another.
    if (by.rules.epoch !== lookup.service.rules.epoch) return 'old_version';
    const version = by.versions.find(({ revision }) => revision === candidate?.revision);
    if (version === undefined) return 'other_service';
    // Nobody looks for it, and behind a transformer the answer may be made of another revision's by now.
    if (!this.alive.has(version.id)) return 'old_version';
    if (this.isPurged(lookup)) return 'purged';
    const key = entryKey(version, lookup.key.hash);
    const isRefusal = entry.status !== 200;
    this.store.set(isRefusal ? refusalKey(key, lookup.request.unkeyed) : key.local, entry);
    this.metrics.kept += 1;
    if (!isRefusal) {
      lookup.written = this.shared?.set(key, entry, entry.staleUntilMs - this.nowMs()) ?? null;
      this.semantic.learn(lookup, key.local);
    } else this.metrics.keptRefusals += 1;
    return null;
  }

  /** Forgets a service's answers here and in Redis, and tells the other gateways. @returns how many there were */
  async purge(serviceKey: string): Promise<{ local: number; shared: number }> {
    const serviceId = serviceIdOf(serviceKey);
    const local = this.forget(serviceId);
    this.siblings?.tell(serviceId);
    // Whoever asks once the purge is answered comes after it by the clock, too, and what it gets may be kept.
    await delay(clockStepMs);
    const shared = (await this.shared?.purge(serviceId)) ?? 0;
    this.metrics.purges.shared += shared;
    return { local, shared };
  }

  private forget(serviceId: string): number {
    this.purges.note(serviceId, this.nowMs());
    const ids = this.versions.idsOf(serviceId);
    const count = this.store.sweep((versionId) => ids.has(versionId));
    this.metrics.purges.local += count;
    return count;
  }

  /** It began before its service was purged: what it gets is old for all that began since. */
  isPurged({ key, startedAtMs }: Lookup): boolean {
    return this.purges.isBefore(key.version.serviceId, startedAtMs);
  }

  /** @returns the answer when it may be given; one past its time is noted, for the case that no server answers */
  private take(lookup: Lookup, entry: Entry | null): Entry | null {
    if (entry === null || this.isFresh(lookup, entry)) return entry;
    if (entry.status === 200 && this.isYoungEnough(lookup, entry)) lookup.stale = entry;
    return null;
  }

  private isFresh(lookup: Lookup, entry: Entry | null): boolean {
    return entry !== null && entry.expiresAtMs > this.nowMs() && this.isYoungEnough(lookup, entry);
  }

  /** No older than the client wants it. */
  isYoungEnough({ directives }: Lookup, { storedAtMs }: Entry): boolean {
    return this.nowMs() - storedAtMs <= directives.maxAgeS * 1000;
  }
}

const lockPollMs = 25;
/** More than the smallest step of the wall clock that requests are told apart by. */
const clockStepMs = 2;
