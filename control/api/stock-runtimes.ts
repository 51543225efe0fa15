import { createHash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { parseAllDocuments } from 'yaml';
import { MusterError } from '../../domain/errors.ts';
import { ClusterServingRuntime } from '../../domain/serving-runtime/serving-runtime.schema.ts';
import type { Runtimes } from '../store/runtimes.ts';
import { sentences } from './zod-sentences.ts';

/** Says what a stock runtime was when it came in; a user's change makes it differ from the object. */
export const stockHashAnnotation = 'muster.dev/stock-hash';

export interface StockOutcome {
  readonly created: string[];
  readonly updated: string[];
  /** Changed or deleted by a user, and so left as they are. */
  readonly left: string[];
}

/**
 * Brings the runtimes that ship with Muster into the store: new ones are made, those that nobody changed follow the
 * newer Muster, and what a user changed or deleted is left alone.
 *
 * @param folder with YAML files of ClusterServingRuntimes
 */
export async function importStockRuntimes(
  runtimes: Runtimes,
  folder: string,
  log: Logger,
  now: string,
): Promise<StockOutcome> {
  const outcome: StockOutcome = { created: [], updated: [], left: [] };
  const known = await runtimes.stock();
  for (const stock of await readStock(folder)) {
    const { name } = stock.metadata;
    const hash = contentHash(stock);
    const stored = await runtimes.get(null, name);
    if (stored === null && known.has(name)) {
      outcome.left.push(name);
      continue;
    }
    if (stored !== null && stored.metadata.annotations?.[stockHashAnnotation] !== contentHash(stored)) {
      outcome.left.push(name);
      continue;
    }
    if (stored !== null && contentHash(stored) === hash) continue;
    await runtimes.put(marked(stock, hash, stored?.metadata.creationTimestamp ?? now));
    await runtimes.noteStock(name, hash);
    (stored === null ? outcome.created : outcome.updated).push(name);
  }
  log.info(outcome, 'stock runtimes are in the store');
  return outcome;
}

async function readStock(folder: string): Promise<ClusterServingRuntime[]> {
  const files = (await readdir(folder)).filter((file) => /\.ya?ml$/.test(file)).sort();
  const found: ClusterServingRuntime[] = [];
  for (const file of files) {
    const text = await readFile(join(folder, file), 'utf8');
    for (const document of parseAllDocuments(text)) {
      const value: unknown = document.toJS();
      if (value === null) continue;
      const result = ClusterServingRuntime.safeParse(value);
      if (!result.success) {
        const first = sentences(ClusterServingRuntime, value, result.error.issues)[0]?.message ?? '';
        throw new MusterError(
          'invalid_manifest',
          `The stock runtime ${join(folder, file)} is wrong: ${first}.`,
        );
      }
      found.push(result.data);
    }
  }
  return found;
}

/** Over all that a person may change: labels, annotations, spec; whatever the order of their fields. */
function contentHash(runtime: {
  readonly metadata: ClusterServingRuntime['metadata'];
  readonly spec: unknown;
}): string {
  const { labels, annotations } = runtime.metadata;
  const given = Object.fromEntries(
    Object.entries(annotations ?? {}).filter(([key]) => key !== stockHashAnnotation),
  );
  return createHash('sha256')
    .update(JSON.stringify(ordered({ labels: labels ?? {}, annotations: given, spec: runtime.spec })))
    .digest('hex')
    .slice(0, 16);
}

function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, ordered(inner)]),
  );
}

function marked(
  stock: ClusterServingRuntime,
  hash: string,
  creationTimestamp: string,
): ClusterServingRuntime {
  const annotations = { ...stock.metadata.annotations, [stockHashAnnotation]: hash };
  return { ...stock, metadata: { ...stock.metadata, annotations, creationTimestamp } };
}
