import { pick, pickBy } from '../../domain/routing/pick.ts';
import type { Candidate, Choose, PickState } from '../../domain/routing/pick.ts';
import { BlockHashes, textHash } from '../../domain/routing/prefix/block-hashes.ts';
import type { PickPolicy } from '../../domain/routing/prefix/pick-policy.schema.ts';
import { PrefixPick } from '../../domain/routing/prefix/prefix-pick.ts';
import type { PrefixReason } from '../../domain/routing/prefix/prefix-pick.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';
import type { Passage } from '../passage.ts';
import { hasBytesAt } from '../same-bytes.ts';
import type { Step } from '../step.ts';
import type { Endpoint } from '../upstream/endpoints.ts';
import type { Picker } from './picker.ts';

/** Numbers of all picks, for metrics. */
export class PickCounts {
  /** Picks by why the endpoint was chosen; `load`: no prompt to go by. */
  readonly picks: Record<PrefixReason | 'load', number> = { held: 0, new: 0, overload: 0, share: 0, load: 0 };
  /** Blocks of prompts, and those that their endpoint should have had. */
  blocks = 0;
  cachedBlocks = 0;
}

/**
 * Prompts go to an endpoint that has served their beginning (domain/routing/prefix), all other requests to the least
 * loaded. What is hashed are the body's own bytes from the prompt on, whatever stands before them. As a step it only
 * learns when a request is over.
 */
export class PrefixPicker implements Picker, Step {
  readonly name = 'pick';
  readonly counts = new PickCounts();
  private readonly chance: () => number;
  private readonly hashes = new BlockHashes();
  private readonly rule = new PrefixPick<Endpoint>();
  private readonly choose: Choose<Endpoint> = (candidates, state, accept) =>
    this.rule.choose(candidates, state, accept, this.hashes);
  private isOn = true;
  /** Of the last prompt: mostly the next one's, too. */
  private seeded = { model: '', seed: textHash('') };
  /** Told of the blocks [from, count) that are new at an endpoint: for peers. */
  onLearnt: ((endpoint: Endpoint, keys: Int32Array, from: number, count: number) => void) | null = null;

  constructor(chance: () => number) {
    this.chance = chance;
  }

  apply(policy: PickPolicy): void {
    this.isOn = policy.algorithm === 'prefix';
  }

  pick(
    passage: Passage,
    service: RoutedService<Endpoint>,
    tried: readonly string[],
    nowMs: number,
  ): Candidate<Endpoint> | null {
    const { targets } = service;
    const state: PickState = { nowMs, chance: this.chance, tried };
    if (!this.isOn || service.endpoints.length < 2 || !this.readPrompt(passage, service)) {
      this.counts.picks.load += 1;
      return pick(targets, state);
    }
    this.release(passage);
    const candidate = pickBy(targets, state, this.choose);
    if (candidate !== null) this.count(passage, candidate);
    return candidate;
  }

  enter(): boolean {
    return true;
  }

  settle(passage: Passage): void {
    this.release(passage);
  }

  private count(passage: Passage, candidate: Candidate<Endpoint>): void {
    const { counts, rule, hashes } = this;
    counts.picks[rule.reason] += 1;
    counts.blocks += hashes.count;
    counts.cachedBlocks += rule.cachedBlocks;
    this.onLearnt?.(candidate.load, hashes.keys, rule.cachedBlocks, hashes.count);
    const { prefix } = candidate.load;
    const bytes = hashes.bytesOf(hashes.count) - hashes.bytesOf(rule.cachedBlocks);
    prefix.uncachedBytes += bytes;
    passage.prefix = prefix;
    passage.prefixBytes = bytes;
  }

  private seedOf(model: string): number {
    if (model !== this.seeded.model) this.seeded = { model, seed: textHash(model) };
    return this.seeded.seed;
  }

  private release(passage: Passage): void {
    const { prefix } = passage;
    if (prefix === null) return;
    prefix.uncachedBytes -= passage.prefixBytes;
    passage.prefix = null;
  }

  /** @returns false when the request has no prompt, or one too short to be worth keeping */
  private readPrompt(passage: Passage, service: RoutedService<Endpoint>): boolean {
    const { body, fields, operation } = passage;
    const key = prompts.get(operation.head);
    if (key === undefined || body === null || fields?.[key.name] === undefined) return false;
    const from = indexOfKey(body, key.quoted);
    if (from < 0) return false;
    let seed = this.seedOf(service.route.upstreamModel);
    // Templates put the tools before the messages, wherever the request names them.
    if (fields['tools'] !== undefined) seed = toolsHash(body, seed);
    const view = new DataView(body.buffer, body.byteOffset, body.length);
    this.hashes.read(view, from, body.length, seed);
    return this.hashes.count > 0;
  }
}

interface PromptKey {
  readonly name: string;
  readonly quoted: Buffer;
}

function promptKey(name: string): PromptKey {
  return { name, quoted: Buffer.from(`"${name}"`) };
}

/** Most clients put the prompt behind the model: there it is looked for without node's search, which is quick for long ways. */
const nearBytes = 64;
const quote = 0x22;

function indexOfKey(body: Buffer, quoted: Buffer): number {
  for (let at = 0; at < nearBytes; at += 1) if (body[at] === quote && hasBytesAt(body, at, quoted)) return at;
  return body.indexOf(quoted, nearBytes);
}

/** Where the prompt of each operation stands. Embeddings, scores and the like keep nothing for the next request. */
const prompts: ReadonlyMap<string, PromptKey> = new Map([
  ['/v1/chat/completions', promptKey('messages')],
  ['/v1/completions', promptKey('prompt')],
  ['/v1/responses', promptKey('input')],
]);

const toolsKey = Buffer.from('"tools"');
const toolsBytes = 512;

function toolsHash(body: Buffer, seed: number): number {
  const at = body.indexOf(toolsKey);
  return at < 0 ? seed : textHash(body.toString('latin1', at, at + toolsBytes), seed);
}
