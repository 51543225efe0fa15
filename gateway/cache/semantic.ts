import { hash } from 'node:crypto';
import type { CacheRules } from '../../domain/cache/cache-policy.schema.ts';
import { splitRequest } from '../../domain/cache/prompt.ts';
import type { SplitRequest } from '../../domain/cache/prompt.ts';
import { identity } from '../../domain/cache/request.ts';
import { TenantVectors } from '../../domain/cache/tenant-vectors.ts';
import { unit } from '../../domain/cache/vectors.ts';
import type { Neighbour } from '../../domain/cache/vectors.ts';
import type { InternalAnswer, InternalRequest } from '../front/internal-exchange.ts';
import type { CacheMetrics } from './cache-metrics.ts';
import { bodyText } from './read-request.ts';
import type { Lookup } from './lookup.ts';

/** Asks the gateway itself, as an internal caller. @throws when there is no whole answer in time */
export type AskInternally = (
  request: InternalRequest,
  bytesMax: number,
  signal: AbortSignal,
) => Promise<InternalAnswer>;

/**
 * Prompts that mean the same. A deployed model embeds the prompt; the nearest earlier prompt of the same tenant, model
 * version and parameters answers when it is near enough. Only vectors are kept here: the answers lie in the stores,
 * and a prompt whose answer is gone is forgotten. Without the embedding model there is the exact cache alone.
 */
export class SemanticIndex {
  private readonly ask: AskInternally;
  private readonly metrics: CacheMetrics;
  private readonly nowMs: () => number;
  private readonly prompts = new TenantVectors();
  private inFlight = 0;
  private failures = 0;
  private restsUntilMs = 0;

  constructor(ask: AskInternally, metrics: CacheMetrics, nowMs: () => number) {
    this.ask = ask;
    this.metrics = metrics;
    this.nowMs = nowMs;
  }

  use(bytesMax: number): void {
    this.prompts.use(bytesMax, this.nowMs());
  }

  get size(): number {
    return this.prompts.size;
  }

  get bytes(): number {
    return this.prompts.bytes;
  }

  isFor(lookup: Lookup): boolean {
    const { semantic } = lookup.service.rules;
    return (
      semantic.enabled &&
      semantic.model !== '' &&
      !lookup.request.isKserve &&
      lookup.request.delivery !== 'plain' &&
      this.nowMs() >= this.restsUntilMs
    );
  }

  /** Fills in what the prompt means. @returns the most similar earlier prompt, or null */
  async find(lookup: Lookup): Promise<Neighbour | null> {
    const { semantic } = lookup.service.rules;
    const split = splitRequest(bodyText(lookup.passage.plan?.body ?? nothing), lookup.request.delivery);
    if (split === null || split.prompt.length > semantic.promptCharsMax) {
      this.metrics.semantic.skipped += 1;
      return null;
    }
    const vector = await this.embed(semantic, split.prompt);
    if (vector === null) return null;
    const frame = frameOf(lookup, split);
    lookup.meaning = { frame, vector };
    return this.prompts.nearest(placeOf(lookup), frame, vector, semantic.threshold);
  }

  /** The lookup's answer was kept under this key: similar prompts may have it. */
  learn(lookup: Lookup, key: string): void {
    const { meaning } = lookup;
    const { semantic, ttlSeconds } = lookup.service.rules;
    if (meaning === null || !key.startsWith(lookup.key.version.id)) return;
    const nowMs = this.nowMs();
    const untilMs = nowMs + ttlSeconds * 1000;
    this.prompts.add(placeOf(lookup), { ...meaning, key, rowsMax: semantic.entriesMax, untilMs }, nowMs);
  }

  forget(lookup: Lookup, key: string): void {
    this.prompts.forget(placeOf(lookup), key);
  }

  private async embed(rules: CacheRules['semantic'], prompt: string): Promise<Float32Array | null> {
    if (this.inFlight >= embeddingsMax) {
      this.metrics.semantic.skipped += 1;
      return null;
    }
    this.inFlight += 1;
    this.metrics.semantic.embeddings += 1;
    const body = Buffer.from(JSON.stringify({ model: rules.model, input: prompt, encoding_format: 'float' }));
    const headers = { 'content-type': 'application/json' };
    const request = { method: 'POST', path: '/v1/embeddings', headers, body };
    const vector = await this.ask(request, embeddingBytesMax, AbortSignal.timeout(rules.timeoutMs))
      .then(readVector)
      .catch(() => null);
    this.inFlight -= 1;
    if (vector !== null) this.failures = 0;
    else {
      this.metrics.semantic.failures += 1;
      this.failures += 1;
      if (this.failures >= failuresMax) this.restsUntilMs = this.nowMs() + restMs;
    }
    return vector;
  }
}

const nothing = new Uint8Array();

/** Embeddings under way at once; further prompts are only looked for exactly. */
const embeddingsMax = 32;
/** The answer to one prompt: 16,384 numbers as text have room. */
const embeddingBytesMax = 512 * 1024;
/** After so many failures in a row the embedding model is left alone for `restMs`. */
const failuresMax = 3;
const restMs = 5_000;

/**
 * What must be equal: all that the exact key holds but the tenant, who has a place of its own, and the prompt's
 * meaning. A digest: the words before a prompt may be many, and each prompt would hold them.
 */
function frameOf({ key, passage }: Lookup, { frame, marks }: SplitRequest): string {
  const beside = identity({ path: passage.operation.head, query: passage.exchange.query, partition: '' });
  return hash('sha256', `${key.version.id}${beside}${frame}\n${marks}`, 'binary');
}

/** By tenant and embedding model. */
function placeOf({ request, service }: Lookup): string {
  return `${service.rules.semantic.model}\n${service.rules.semantic.entriesMax}\n${request.partition}`;
}

function readVector({ status, body }: InternalAnswer): Float32Array | null {
  if (status !== 200) return null;
  const answer = JSON.parse(body.toString('utf8')) as { data?: { embedding?: unknown }[] };
  const embedding = answer.data?.[0]?.embedding;
  return Array.isArray(embedding) ? unit(embedding) : null;
}
