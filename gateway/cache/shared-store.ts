import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { CachePolicy } from '../../domain/cache/cache-policy.schema.ts';
import { redisScript } from '../redis/shared-redis.ts';
import type { SharedRedis } from '../redis/shared-redis.ts';
import type { CacheMetrics } from './cache-metrics.ts';
import { decodeEntry, encodeEntry } from './codec.ts';
import type { Entry, EntryKey } from './entry.ts';

/**
 * The answers that all gateways share, in Redis. It never fails: a look-up that is late, broken or damaged is a miss,
 * and after a few in a row Redis is left alone for a moment. Keys name the service first, so that a purge finds its
 * answers, then the model version, then the request.
 */
export class SharedStore {
  private readonly redis: SharedRedis;
  private readonly metrics: CacheMetrics;
  private readonly logger: Logger;
  private readonly nowMs: () => number;
  private settings: CachePolicy['shared'] | null = null;
  private failures = 0;
  private restsUntilMs = 0;
  private writes = 0;
  private isListening = false;

  constructor(redis: SharedRedis, metrics: CacheMetrics, logger: Logger, nowMs: () => number) {
    this.redis = redis;
    this.metrics = metrics;
    this.logger = logger;
    this.nowMs = nowMs;
  }

  use(settings: CachePolicy['shared'] | null): void {
    this.settings = settings;
  }

  /** Redis is wanted, there, and not left alone. */
  isUsable(): boolean {
    return this.settings?.enabled === true && this.redis.isReady && this.nowMs() >= this.restsUntilMs;
  }

  get lockMs(): number {
    return this.settings?.lockMs ?? 0;
  }

  /** @returns null for a miss of any kind, within `waitMs` */
  async get(key: EntryKey, bodyBytesMax: number): Promise<Entry | null> {
    const { settings } = this;
    if (settings === null || !this.isUsable()) return null;
    const name = redisKey(key);
    // Not all of it, should somebody have put something huge there: what is cut is damaged, and a miss.
    const asked = this.redis.ask((client) => client.getrangeBuffer(name, 0, entryBytesMax(bodyBytesMax)));
    const bytes = await within(asked, settings.waitMs);
    if (bytes === late || bytes === undefined) {
      if (bytes === late) this.metrics.shared.timeouts += 1;
      else this.metrics.shared.errors += 1;
      this.failed(settings);
      return null;
    }
    this.failures = 0;
    if (bytes.length === 0) return null;
    const entry = decodeEntry(name, bytes, bodyBytesMax);
    if (entry === null) this.metrics.shared.damaged += 1;
    return entry;
  }

  /** Never throws. @returns once it is written, or will not be */
  async set(key: EntryKey, entry: Entry, ttlMs: number): Promise<void> {
    const { settings } = this;
    if (settings === null || !this.isUsable()) return;
    if (this.writes >= settings.writesMax) {
      this.metrics.shared.droppedWrites += 1;
      return;
    }
    this.writes += 1;
    await this.write(redisKey(key), entry, ttlMs, settings.compressBytesMin)
      .catch((error: unknown) => {
        this.logger.error({ err: error }, 'an answer could not be written to Redis');
      })
      .finally(() => {
        this.writes -= 1;
      });
  }

  private async write(name: string, entry: Entry, ttlMs: number, compressBytesMin: number): Promise<void> {
    const bytes = await encodeEntry(name, entry, compressBytesMin);
    const done = await this.redis.ask((client) => client.set(name, bytes, 'PX', Math.ceil(ttlMs)));
    if (done === undefined) this.metrics.shared.errors += 1;
    else this.metrics.shared.writes += 1;
  }

  /**
   * @returns what unlocks it again, for the one gateway that got it; also when Redis is away or late: everyone then
   * asks for itself. Null: another gateway has it
   */
  async lock(key: EntryKey, lockMs: number): Promise<string | null> {
    const owner = randomUUID();
    const set = this.redis.ask((client) => client.set(lockName(key), owner, 'PX', lockMs, 'NX'));
    const got = await within(set, this.settings?.waitMs ?? 0);
    return got === null ? null : owner;
  }

  /** Also true when Redis does not say: it may be. */
  async isLocked(key: EntryKey): Promise<boolean> {
    const count = await within(
      this.redis.ask((client) => client.exists(lockName(key))),
      this.settings?.waitMs ?? 0,
    );
    return count !== 0;
  }

  /** Does nothing when the lock ran out and is another's by now. */
  unlock(key: EntryKey, owner: string): void {
    void this.redis.run(unlockOwn, [lockName(key)], [owner]);
  }

  /**
   * Tells the other gateways to forget a service's answers, and removes them here. Twice: a write that was on its way
   * when the others heard of it has come by then.
   *
   * @returns how many there were
   */
  async purge(serviceId: string): Promise<number> {
    if (!this.redis.isReady) return 0;
    await this.redis.ask((client) => client.publish(purgeChannel, serviceId));
    const count = await this.sweep(serviceId);
    await sleep(lateWritesMs);
    return count + (await this.sweep(serviceId));
  }

  private async sweep(serviceId: string): Promise<number> {
    const match = `${prefix}${serviceId}:*`;
    let cursor = '0';
    let count = 0;
    do {
      const page = await this.redis.ask((client) => client.scan(cursor, 'MATCH', match, 'COUNT', 1_000));
      if (page === undefined) break;
      const [next, names] = page;
      cursor = next;
      if (names.length > 0) count += (await this.redis.ask((client) => client.unlink(...names))) ?? 0;
    } while (cursor !== '0');
    return count;
  }

  /** From now on `purged` is called with the service's id for each purge of another gateway (and our own). */
  listen(purged: (serviceId: string) => void): void {
    if (this.isListening) return;
    this.isListening = true;
    this.redis.hear(purgeChannel, purged);
  }

  private failed(settings: CachePolicy['shared']): void {
    this.failures += 1;
    if (this.failures < settings.failuresMax) return;
    this.failures = 0;
    this.restsUntilMs = this.nowMs() + settings.restMs;
  }
}

const unlockOwn = redisScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('UNLINK', KEYS[1]) end
return 0`);

const prefix = 'muster:cache:1:';
const purgeChannel = 'muster:cache:purge';

/** By then a write that began before a purge has come, or failed. */
const lateWritesMs = 300;

/** The head, and what deflate adds to a body that does not shrink. */
function entryBytesMax(bodyBytesMax: number): number {
  return bodyBytesMax + Math.ceil(bodyBytesMax / 1_000) + 4_096;
}

function redisKey({ version, hash }: EntryKey): string {
  return `${prefix}${version.serviceId}:${version.id}:${Buffer.from(hash, 'latin1').toString('base64url')}`;
}

function lockName(key: EntryKey): string {
  return `${redisKey(key)}:lock`;
}

const late = Symbol('late');

/** Whatever comes first: the answer, or the end of patience. */
function within<T>(answer: Promise<T>, waitMs: number): Promise<T | typeof late> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      resolve(late);
    }, waitMs);
    answer.then((value) => {
      clearTimeout(timer);
      resolve(value);
    }, reject);
  });
}
