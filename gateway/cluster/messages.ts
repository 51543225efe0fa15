import type { RouteTable } from '../../domain/route-table/route-table.schema.ts';

/** A metric as prom-client gives it away and takes it back. */
export type MetricJson = Record<string, unknown> & { readonly name: string; readonly type: string };

/** What the processes of one gateway say to each other over node's channel between parent and child. */
export type ToWorker =
  | { readonly muster: 'table'; readonly table: RouteTable }
  /** Give me your numbers. */
  | { readonly muster: 'numbers?'; readonly id: number }
  /** Another process was asked to forget the cached answers of a service. */
  | { readonly muster: 'purged'; readonly serviceId: string }
  /** The answer to `scrape`; null: it could not be made. */
  | { readonly muster: 'scraped'; readonly id: number; readonly text: string | null };

export type ToPrimary =
  /** All ports are open. */
  | { readonly muster: 'ready' }
  /** Tell the others. */
  | { readonly muster: 'purged'; readonly serviceId: string }
  | { readonly muster: 'numbers'; readonly id: number; readonly metrics: readonly MetricJson[] }
  /** Somebody asks me for /metrics: here are mine, add those of all others. */
  | { readonly muster: 'scrape'; readonly id: number; readonly metrics: readonly MetricJson[] };

export function isMessage(value: unknown): value is { readonly muster: string } {
  return typeof value === 'object' && value !== null && 'muster' in value;
}
