import { deliver } from '../../domain/cache/deliver.ts';
import type { Exchange } from '../front/exchange.ts';
import type { Entry } from './entry.ts';
import type { Lookup } from './lookup.ts';

/** Where a kept answer came from. */
export type Level = 'local' | 'shared' | 'semantic' | 'flight' | 'stale';

/** A kept answer in the form that a request asked for. */
interface Rendered {
  readonly entry: Entry;
  readonly contentType: string;
  readonly isStream: boolean;
  readonly body: Buffer;
}

/** @returns null when the answer cannot be told in the form that was asked for */
export function render({ wanted }: Lookup, entry: Entry): Rendered | null {
  const delivered = deliver(entry, wanted, () => entry.body.toString('utf8'));
  if (delivered.kind === 'impossible') return null;
  if (delivered.kind === 'as-kept')
    return { entry, contentType: entry.contentType, isStream: entry.form === 'events', body: entry.body };
  const { form, text } = delivered;
  return { entry, contentType: contentTypes[form], isStream: form === 'events', body: Buffer.from(text) };
}

/**
 * Sends a kept answer. A stream goes without its length: those who rewrite it for the client (another protocol) may
 * change it.
 *
 * @param how nowMs: Date.now()
 */
export function replay(
  lookup: Lookup,
  rendered: Rendered,
  level: Level,
  how: { readonly nowMs: number; readonly exchange: Exchange },
): void {
  const { passage, similarity } = lookup;
  const { nowMs, exchange } = how;
  const { entry, contentType, isStream, body } = rendered;
  const age = Math.max(0, Math.floor((nowMs - entry.storedAtMs) / 1000));
  const headers = ['content-type', contentType, 'x-request-id', passage.requestId];
  const state = level === 'stale' ? ['stale'] : ['hit', 'x-muster-cache-level', level];
  headers.push('x-muster-cache', ...state, 'age', String(age));
  if (level === 'semantic') headers.push('x-muster-cache-similarity', (similarity ?? 1).toFixed(4));
  if (!isStream) headers.push('content-length', String(body.length));
  if (entry.jsonLength !== null) headers.push('inference-header-content-length', entry.jsonLength);
  // A stale answer comes after the request was a miss: what was said of that is not said.
  if (passage.responseHeaders !== null && level !== 'stale') headers.push(...passage.responseHeaders);
  exchange.start(entry.status, headers);
  exchange.write(body);
  exchange.end();
}

const contentTypes = { json: 'application/json', events: 'text/event-stream; charset=utf-8' } as const;
