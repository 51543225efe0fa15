import { canonicalJson } from './canonical.ts';
import type { CacheRules } from './cache-policy.schema.ts';
import { isObject } from './exact-values.ts';
import type { Fields } from './exact-values.ts';

/**
 * Whether a request's answer may be kept, and the text that tells it from every other request. Two requests share a
 * text only when a server of the same model would answer both alike, so all counts but what is known not to matter:
 * how the answer is delivered (`stream`, `stream_options`) and who asks for whom (`user`, `metadata`, hints for the
 * server's own caches). A field nobody knows counts.
 */
export type Delivery = 'chat' | 'completion' | 'plain';

type CacheFault =
  | 'not_cacheable' // this operation never is
  | 'not_deterministic'
  | 'delivery_options' // stream_options that change the chunks
  | 'living_content' // refers to content elsewhere, which may change
  | 'request_too_large'
  | 'duplicate_key'
  | 'too_deep'
  | 'not_json';

export type CacheRequest =
  | {
      readonly kind: 'cacheable';
      readonly text: string;
      /** The members that do not count. A refusal may be due to them, so it is given only where they are equal. */
      readonly unkeyed: string;
      readonly delivery: Delivery;
    }
  | { readonly kind: 'bypass'; readonly reason: CacheFault };

export interface AskedRequest {
  /** Path for the server, without query. */
  readonly path: string;
  readonly query: string;
  /** Whose answers these are; '' when all share them. */
  readonly partition: string;
  /** The body as JSON text. */
  readonly text: string;
  /** The same, parsed. */
  readonly fields: Readonly<Record<string, unknown>>;
}

/** OpenAI operations by path. `responses` are not among them: they are state of the server that made them. */
const deliveries: ReadonlyMap<string, Delivery> = new Map([
  ['/v1/chat/completions', 'chat'],
  ['/v1/completions', 'completion'],
  ...[
    '/v1/embeddings',
    '/v1/rerank',
    '/v2/rerank',
    '/rerank',
    '/v1/score',
    '/score',
    '/v1/classify',
    '/classify',
    '/v1/pooling',
    '/pooling',
    '/v1/moderations',
    '/tokenize',
    '/detokenize',
    '/v1/messages/count_tokens',
  ].map((path): [string, Delivery] => [path, 'plain']),
]);

/** Where a stream changes the answer and not its delivery alone, as for these operations, it counts. */
const ignoredOfGenerations = quoted([
  'stream',
  'stream_options',
  'user',
  'metadata',
  'safety_identifier',
  'prompt_cache_key',
  'prompt_cache_retention',
]);
const ignoredOfOthers = quoted(['user', 'metadata']);

function quoted(names: readonly string[]): ReadonlySet<string> {
  return new Set(names.map((name) => JSON.stringify(name)));
}

/** Members of a body that do not count, in quotes. */
export function ignoredMembers(delivery: Delivery): ReadonlySet<string> {
  return delivery === 'plain' ? ignoredOfOthers : ignoredOfGenerations;
}

export function deliveryOf(path: string): Delivery | null {
  return deliveries.get(path) ?? null;
}

/** @param delivery of the request's path */
export function openAiRequest(asked: AskedRequest, delivery: Delivery, rules: CacheRules): CacheRequest {
  const fault = delivery === 'plain' ? null : generationFault(asked.fields, rules);
  if (fault !== null) return { kind: 'bypass', reason: fault };
  const canonical = canonicalJson(asked.text, ignoredMembers(delivery));
  if (canonical.kind === 'refused') return { kind: 'bypass', reason: canonical.reason };
  if (rules.deterministicOnly && delivery === 'chat' && remoteContent.test(canonical.text))
    return { kind: 'bypass', reason: 'living_content' };
  return { kind: 'cacheable', text: identity(asked) + canonical.text, unkeyed: canonical.ignored, delivery };
}

/** What comes before the body in a request's text. Lengths keep a tenant's name from running into a path. */
export function identity(asked: Pick<AskedRequest, 'path' | 'query' | 'partition'>): string {
  const { path, query, partition } = asked;
  return `${partition.length}:${partition}${path.length}:${path}${query.length}:${query}`;
}

/** Pictures, sounds and films by reference: behind the same address there may be others tomorrow. */
const remoteContent = /"(?:(?:image_|audio_|video_)?url|file_id)":"(?!data:)/;

function generationFault(fields: AskedRequest['fields'], rules: CacheRules): CacheFault | null {
  const options = fields['stream_options'];
  if (options !== undefined && options !== null && !(isObject(options) && isUsageAlone(options)))
    return 'delivery_options';
  if (!rules.deterministicOnly) return null;
  if (fields['web_search_options'] !== undefined) return 'living_content';
  const { temperature, seed } = fields;
  return temperature === 0 || isSeed(seed) ? null : 'not_deterministic';
}

/** -1 asks vLLM and llama.cpp for a random one; llama.cpp reads 32 bits of a number, so others are the same to it. */
function isSeed(seed: unknown): boolean {
  return Number.isInteger(seed) && Number(seed) >>> 0 !== 0xffffffff;
}

function isUsageAlone(options: Fields): boolean {
  return Object.keys(options).every((name) => name === 'include_usage');
}
