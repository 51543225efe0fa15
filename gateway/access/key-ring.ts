import { hash } from 'node:crypto';
import type { AccessKey } from '../../domain/access/access-policy.schema.ts';
import type { Caller } from '../../domain/access/caller.ts';
import { callerOfKey } from '../../domain/access/callers.ts';
import type { AccessLimits } from './access-limits.ts';
import { BoundedMap } from '../bounded-map.ts';
import { identityOf, isGood } from './identity.ts';
import type { Generation, Identity } from './identity.ts';

/**
 * The keys of the table in force. A credential is hashed when it is first seen and then known by its text, so that
 * requests are not hashed. Nothing here compares a credential with a secret: there is none to compare with, a digest is
 * looked up among digests, and that tells an attacker nothing that he could go on from.
 */
interface Entry {
  /** The record as JSON: an equal one keeps its caller, so that what others keep by caller lives on. */
  readonly text: string;
  readonly caller: Caller;
  /** Wall clock; Infinity: never. */
  readonly expiresAtMs: number;
}

export interface Clocks {
  /** Wall clock, for what the world says: expiry. */
  readonly now: () => number;
  /** Monotonic: the clock of `Passage.startedMs`. */
  readonly nowMs: () => number;
}

export class KeyRing {
  private readonly limits: AccessLimits;
  private readonly clocks: Clocks;
  private readonly known: BoundedMap<Identity>;
  private byDigest = new Map<string, Entry>();
  private byId = new Map<string, Entry>();
  private generation: Generation = { isOver: false };
  /** First sights, for the metrics. */
  hashed = 0;

  constructor(limits: AccessLimits, clocks: Clocks) {
    this.limits = limits;
    this.clocks = clocks;
    this.known = new BoundedMap(limits.knownKeysMax);
  }

  get size(): number {
    return this.byDigest.size;
  }

  get knownSize(): number {
    return this.known.size;
  }

  /** @returns whether anything is different from before */
  use(keys: readonly AccessKey[]): boolean {
    const next = new Map<string, Entry>();
    let isSame = keys.length === this.byDigest.size;
    for (const key of keys) {
      const text = JSON.stringify(key);
      const before = this.byDigest.get(key.sha256);
      if (before?.text === text) {
        next.set(key.sha256, before);
        continue;
      }
      isSame = false;
      const expiresAtMs = key.expiresAt === null ? Infinity : Date.parse(key.expiresAt);
      next.set(key.sha256, { text, caller: callerOfKey(key), expiresAtMs });
    }
    if (isSame) return false;
    this.byDigest = next;
    this.byId = new Map([...next.values()].map((entry) => [entry.caller.id, entry]));
    this.generation.isOver = true;
    this.generation = { isOver: false };
    this.known.clear();
    return true;
  }

  /** By a key's id, for what is asked in its name later. @returns null when it is not in force */
  callerOf(id: string): Caller | null {
    const entry = this.byId.get(id);
    return entry !== undefined && entry.expiresAtMs > this.clocks.now() ? entry.caller : null;
  }

  /** By its text alone. @param text the header's value */
  recall(text: string, nowMs: number): Identity | null {
    const identity = this.known.get(text);
    if (identity === undefined) return null;
    if (isGood(identity, nowMs)) return identity;
    this.known.delete(text);
    return null;
  }

  /**
   * By its hash: the same work for a good key, an old one and a made-up one.
   * @param text what it is to be remembered by
   */
  recognise(secret: string, text: string): Identity | 'expired' | null {
    this.hashed += 1;
    const entry = this.byDigest.get(hash('sha256', secret));
    if (entry === undefined) return null;
    const leftMs = entry.expiresAtMs - this.clocks.now();
    if (leftMs <= 0) return 'expired';
    // A wall clock may be set: what has an end is looked at again before long.
    const lastsMs = leftMs === Infinity ? Infinity : Math.min(leftMs, this.limits.recheckMs);
    const identity = identityOf(entry.caller, this.generation, this.clocks.nowMs() + lastsMs);
    this.known.set(text, identity);
    return identity;
  }
}
