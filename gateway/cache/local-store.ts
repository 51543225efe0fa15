import { LRUCache } from 'lru-cache';
import { sizeOf } from './entry.ts';
import type { Entry } from './entry.ts';

/** The answers that this process keeps in memory: bounded in bytes, the least recently used make room. */
export class LocalStore {
  evictions = 0;
  private cache: LRUCache<string, Entry> | null = null;
  private bytesMax = 0;

  /** A changed bound empties it. */
  resize(bytesMax: number): void {
    if (bytesMax === this.bytesMax) return;
    this.bytesMax = bytesMax;
    this.cache = null;
    if (bytesMax === 0) return;
    this.cache = new LRUCache({
      maxSize: bytesMax,
      sizeCalculation: sizeOf,
      dispose: (_entry, _key, reason) => {
        if (reason === 'evict') this.evictions += 1;
      },
    });
  }

  get bytes(): number {
    return this.cache?.calculatedSize ?? 0;
  }

  get size(): number {
    return this.cache?.size ?? 0;
  }

  /** Perhaps past its time. @param nowMs by the clock of the entries */
  get(key: string, nowMs: number): Entry | null {
    const entry = this.cache?.get(key);
    if (entry === undefined) return null;
    if (entry.staleUntilMs > nowMs) return entry;
    this.cache?.delete(key);
    return null;
  }

  /** An entry that is larger than the whole store is not kept. */
  set(key: string, entry: Entry): void {
    this.cache?.set(key, entry);
  }

  /** Forgets the answers of which `isDead` says true of the version's id. @returns how many */
  sweep(isDead: (versionId: string) => boolean): number {
    let count = 0;
    for (const key of this.cache?.keys() ?? []) {
      if (!isDead(key.slice(0, versionIdLength))) continue;
      this.cache?.delete(key);
      count += 1;
    }
    return count;
  }
}

/** Keys begin with the id of the version that gave the answer. */
export const versionIdLength = 16;
