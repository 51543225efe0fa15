import { toChatRequest } from '../../domain/anthropic/request.ts';
import { parseLossless } from '../../domain/json/lossless.ts';
import type { Refusal } from '../errors.ts';
import type { GatewayLimits } from '../limits.ts';
import type { Passage } from '../passage.ts';
import { parseBody } from '../read-body.ts';
import { AnthropicExchange } from './anthropic-exchange.ts';

/**
 * Turns a request for POST /v1/messages into a chat completion: what follows (keys, budgets, caches, choice of a
 * server, retries) sees the one, the client sees the other.
 *
 * @returns why it cannot be served, or null
 */
export function openAnthropic(passage: Passage, limits: GatewayLimits): Refusal | null {
  const parsed = parseBody(passage.exchange, parseLossless);
  if (parsed.kind === 'refused') return parsed.refusal;
  const translated = toChatRequest(parsed.fields);
  if (translated.kind === 'refused')
    return { code: 'invalid_request', message: translated.message, param: translated.path };
  passage.fields = translated.fields;
  passage.body = Buffer.from(JSON.stringify(translated.fields));
  const { model, stream } = translated.fields;
  passage.exchange = new AnthropicExchange(passage.exchange, String(model), stream === true, limits);
  return null;
}
