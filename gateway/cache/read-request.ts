import { createHash, hash } from 'node:crypto';
import { choicesAsked } from '../../domain/cache/judge.ts';
import { deliveryOf, identity, openAiRequest } from '../../domain/cache/request.ts';
import type { CacheRequest, Delivery } from '../../domain/cache/request.ts';
import { hasByteOrderMark } from '../../domain/routing/splice-model.ts';
import type { Passage } from '../passage.ts';
import type { CachedService } from './versions.ts';

/** A request that has a place in the cache. */
export interface CacheableRequest {
  readonly kind: 'cacheable';
  /** SHA-256 of all that tells it from others, but for the model's version; one character a byte. */
  readonly hash: string;
  /** What the hash leaves out of the body: refusals are for requests that agree in it, too. */
  readonly unkeyed: string;
  readonly delivery: Delivery;
  /** Answers asked for at once. */
  readonly choices: number;
  readonly isKserve: boolean;
  /** Whose answers these are. */
  readonly partition: string;
}

type Bypass = Extract<CacheRequest, { kind: 'bypass' }>;

const tooLarge: Bypass = { kind: 'bypass', reason: 'request_too_large' };

/** @returns null for operations that a cache has nothing to say about */
export function readRequest(passage: Passage, service: CachedService): CacheableRequest | Bypass | null {
  const { operation, plan } = passage;
  if (plan?.body === null || plan?.body === undefined) return null;
  const { rules } = service;
  switch (operation.kind) {
    case 'openai-call':
    case 'anthropic-call': {
      const delivery = deliveryOf(operation.head);
      if (delivery === null || passage.fields === null) return null;
      if (plan.body.length > rules.requestBytesMax) return tooLarge;
      return readOpenAi(passage, service, delivery, bodyText(plan.body));
    }
    case 'v1-call':
      break;
    case 'v2-call':
      if (!operation.tail.endsWith('/infer')) return null;
      break;
    default:
      return null;
  }
  if (!rules.kserve) return null;
  if (plan.body.length > rules.requestBytesMax) return tooLarge;
  return readKserve(passage, service, plan.path, plan.body);
}

function readOpenAi(
  passage: Passage,
  { rules }: CachedService,
  delivery: Delivery,
  text: string,
): CacheableRequest | Bypass {
  const partition = partitionOf(passage, rules.scope);
  const fields = passage.fields ?? {};
  const { query } = passage.exchange;
  const read = openAiRequest(
    { path: passage.operation.head, query, partition, text, fields },
    delivery,
    rules,
  );
  if (read.kind === 'bypass') return read;
  return {
    kind: 'cacheable',
    hash: hash('sha256', read.text, 'binary'),
    unkeyed: read.unkeyed,
    delivery,
    choices: choicesAsked(fields),
    isKserve: false,
    partition,
  };
}

/** Headers that say how the bytes of a V1 or V2 body are to be read, and those of its answer written. */
const kserveHeaders = ['content-type', 'content-encoding', 'inference-header-content-length', 'accept'];

function readKserve(
  passage: Passage,
  { rules }: CachedService,
  path: string,
  body: Uint8Array,
): CacheableRequest {
  const partition = partitionOf(passage, rules.scope);
  const { headers } = passage.exchange;
  const how = JSON.stringify(kserveHeaders.map((name) => headers[name] ?? null));
  const sum = createHash('sha256')
    .update(identity({ path, query: how, partition }))
    .update(body);
  return {
    kind: 'cacheable',
    hash: sum.digest('binary'),
    unkeyed: '',
    delivery: 'plain',
    choices: 1,
    isKserve: true,
    partition,
  };
}

/** The body as text: it was read as UTF-8 before. */
export function bodyText(body: Uint8Array): string {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  return bytes.toString('utf8', hasByteOrderMark(bytes) ? 3 : 0);
}

/**
 * Tenants are kept apart. A caller without a tenant is one by itself; callers whom the gateway does not know may be
 * known to the server: what they show it keeps them apart.
 */
function partitionOf(passage: Passage, scope: 'tenant' | 'shared'): string {
  if (scope === 'shared') return '';
  const { caller, exchange } = passage;
  if (caller !== null && caller.kind !== 'anonymous')
    return caller.tenant === '' ? `c${caller.kind}:${caller.id}` : `t${caller.tenant}`;
  const { headers } = exchange;
  const shown = [headers['authorization'], headers['x-api-key'], headers['api-key'], headers['cookie']];
  return shown.some((value) => value !== undefined) ? `a${JSON.stringify(shown)}` : 'a';
}
