import { inHandOf } from '../pick.ts';
import type { Accept, Candidate, Load, PickState } from '../pick.ts';
import type { BlockHashes } from './block-hashes.ts';
import { finished, textHash } from './block-hashes.ts';
import { BlockMemory } from './block-memory.ts';

/**
 * Which of several equal servers gets a prompt: one that has seen its beginning, as long as it is not overloaded.
 *
 * - Those that have at least a quarter of the prompt, and nearly as much of it as the best, hold it; the holder that
 *   lately had fewest requests gets it.
 * - It goes elsewhere when its holder has much more in hand than the others (`overloadFactor`), or lately got more than
 *   its share of the requests (`shareFactor`); the second at most once in `spillEvery` requests. The other server then
 *   holds the prompt, too: a prompt that everybody sends comes to be held by all.
 * - A new prompt goes to the server that rendezvous hashing names for its first kilobyte, among those that are neither
 *   overloaded nor above their share. So gateways that know nothing of each other agree, and a server that comes or
 *   goes moves its own prompts alone.
 *
 * Load is requests in hand plus the prompt bytes among them that must be computed, in units of 8 KiB.
 */
export interface PrefixRules {
  /** In hand above the mean by this factor, and by `overloadSlack`: overloaded. */
  readonly overloadFactor: number;
  readonly overloadSlack: number;
  /** Requests above the mean by this factor, and by `shareSlack`: above its share. */
  readonly shareFactor: number;
  readonly shareSlack: number;
  readonly spillEvery: number;
}

export const defaultPrefixRules: PrefixRules = {
  overloadFactor: 1.5,
  overloadSlack: 8,
  shareFactor: 1.15,
  shareSlack: 16,
  spillEvery: 32,
};

/** What is known of one server; shared by all services that use it. */
export class PrefixState {
  readonly seed: number;
  readonly blocks: BlockMemory;
  /** Requests it got, older ones for less: halved for all when one reaches `recentMax`. */
  recent = 0;
  /** Of the requests in hand. */
  uncachedBytes = 0;

  constructor(address: string, capacity = defaultBlocksPerEndpoint) {
    this.seed = textHash(address);
    this.blocks = new BlockMemory(capacity);
  }
}

/** 8192 blocks: 2 MiB of prompts of up to 4 KiB, 8 MiB of long ones. */
const defaultBlocksPerEndpoint = 8192;

export interface PrefixLoad extends Load {
  readonly prefix: PrefixState;
}

export type PrefixReason = 'held' | 'new' | 'overload' | 'share';

/** Picks among candidates; one object for all requests of a gateway, since it remembers when it last spilt. */
export class PrefixPick<E extends PrefixLoad> {
  private readonly rules: PrefixRules;
  private sinceSpill = 0;
  /** Of the last pick: why, and how many of the prompt's blocks its server should have. */
  reason: PrefixReason = 'new';
  cachedBlocks = 0;
  /** Of each candidate: blocks it holds; -1: it may not be chosen. */
  private matched = new Int32Array(16);
  private loadBound = 0;
  private shareBound = 0;
  private best = 0;

  constructor(rules: PrefixRules = defaultPrefixRules) {
    this.rules = rules;
  }

  /**
   * @param accept who may be chosen at all
   * @param hashes of the prompt; at least one block, else nobody holds it and place is by load alone
   * @returns null when nobody is accepted. The server is taken to have the prompt from now on.
   */
  choose(
    candidates: readonly Candidate<E>[],
    state: PickState,
    accept: Accept,
    hashes: BlockHashes,
  ): Candidate<E> | null {
    this.measure(candidates, state, accept, hashes);
    this.sinceSpill += 1;
    let at = this.holder(candidates, hashes);
    if (at < 0) at = this.place(candidates, hashes);
    const chosen = candidates[at];
    if (chosen === undefined) return null;
    const { prefix } = chosen.load;
    this.cachedBlocks = this.matched[at] ?? 0;
    prefix.blocks.add(hashes.keys, hashes.count);
    prefix.recent += 1;
    if (prefix.recent >= recentMax) for (const { load } of candidates) load.prefix.recent /= 2;
    return chosen;
  }

  /** Means, bounds, and the longest beginning that anybody holds. */
  private measure(
    candidates: readonly Candidate<E>[],
    state: PickState,
    accept: Accept,
    hashes: BlockHashes,
  ): void {
    const { rules } = this;
    let count = 0;
    let load = 0;
    let recent = 0;
    let best = 0;
    if (candidates.length > this.matched.length) this.matched = new Int32Array(2 * candidates.length);
    for (let at = 0; at < candidates.length; at += 1) {
      const candidate = candidates[at];
      if (candidate === undefined || !accept(candidate, state)) {
        this.matched[at] = -1;
        continue;
      }
      const { prefix } = candidate.load;
      count += 1;
      load += loadOf(candidate.load);
      recent += prefix.recent;
      const matched = prefix.blocks.matched(hashes.keys, hashes.count);
      this.matched[at] = matched;
      if (matched > best) best = matched;
    }
    this.best = best;
    this.loadBound = (rules.overloadFactor * load) / count + rules.overloadSlack;
    this.shareBound = (rules.shareFactor * recent) / count + rules.shareSlack;
  }

  /** @returns -1 when nobody holds enough of the prompt, or those who do have too much to do */
  private holder(candidates: readonly Candidate<E>[], hashes: BlockHashes): number {
    this.reason = 'new';
    if (this.best * heldPart < hashes.count) return -1;
    const enough = this.best * nearlyBest;
    let chosen = -1;
    let least = Infinity;
    for (let at = 0; at < candidates.length; at += 1) {
      const load = candidates[at]?.load;
      if (load === undefined || (this.matched[at] ?? -1) < enough || loadOf(load) > this.loadBound) continue;
      if (load.prefix.recent >= least) continue;
      least = load.prefix.recent;
      chosen = at;
    }
    if (chosen < 0) {
      this.reason = 'overload';
      return -1;
    }
    if (least <= this.shareBound || this.sinceSpill < this.rules.spillEvery) {
      this.reason = 'held';
      return chosen;
    }
    this.reason = 'share';
    this.sinceSpill = 0;
    return -1;
  }

  /** By rendezvous hashing among those with room; when none has any, the least loaded. @returns -1: nobody */
  private place(candidates: readonly Candidate<E>[], hashes: BlockHashes): number {
    const key = hashes.keys[Math.min(hashes.count, placingBlocks) - 1] ?? 0;
    let highest = -1;
    let named = -1;
    let least = Infinity;
    let idlest = -1;
    for (let at = 0; at < candidates.length; at += 1) {
      const load = candidates[at]?.load;
      if (load === undefined || (this.matched[at] ?? -1) < 0) continue;
      const own = loadOf(load);
      if (own < least) {
        least = own;
        idlest = at;
      }
      if (own > this.loadBound || load.prefix.recent > this.shareBound) continue;
      const score = finished(key ^ load.prefix.seed);
      if (score <= highest) continue;
      highest = score;
      named = at;
    }
    return named < 0 ? idlest : named;
  }
}

function loadOf(load: PrefixLoad): number {
  return inHandOf(load) + load.prefix.uncachedBytes / uncachedUnitBytes;
}

/** A prompt is held where at least one block of so many is. */
const heldPart = 4;
const nearlyBest = 0.9;
/** The first kilobyte names the place of a new prompt. */
const placingBlocks = 4;
const recentMax = 1024;
/** About 2,000 tokens: what a server computes while it serves one request among others. */
const uncachedUnitBytes = 8192;
