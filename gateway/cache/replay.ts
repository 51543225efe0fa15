import { deliver } from '../../domain/cache/deliver.ts';
import type { Entry } from './entry.ts';
import type { Lookup } from './lookup.ts';

/** Where a kept answer came from. */
export type Level = 'local' | 'shared' | 'semantic' | 'flight';

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
 * @param nowMs Date.now()
 */
export function replay(lookup: Lookup, rendered: Rendered, level: Level, nowMs: number): void {
  const { passage, similarity } = lookup;
  const { entry, contentType, isStream, body } = rendered;
  const age = Math.max(0, Math.floor((nowMs - entry.storedAtMs) / 1000));
  const headers = ['content-type', contentType, 'x-request-id', passage.requestId];
  headers.push('x-muster-cache', 'hit', 'x-muster-cache-level', level, 'age', String(age));
  if (level === 'semantic') headers.push('x-muster-cache-similarity', (similarity ?? 1).toFixed(4));
  if (!isStream) headers.push('content-length', String(body.length));
  if (entry.jsonLength !== null) headers.push('inference-header-content-length', entry.jsonLength);
  if (passage.responseHeaders !== null) headers.push(...passage.responseHeaders);
  const { exchange } = passage;
  exchange.start(entry.status, headers);
  exchange.write(body);
  exchange.end();
}

const contentTypes = { json: 'application/json', events: 'text/event-stream; charset=utf-8' } as const;
