import { stringify } from 'yaml';
import type { EventList, HistoryList } from '../../../domain/control/records.schema.ts';
import type { Context } from '../context.ts';
import { ageOf } from '../age.ts';
import { inferenceService, pathOf } from '../kinds.ts';
import { renderTable } from '../table.ts';

export interface RecordOptions {
  readonly output?: string;
}

/** `muster events NAME`: oldest first, as `kubectl describe` prints them. */
export async function events(context: Context, name: string, options: RecordOptions): Promise<void> {
  const list = (await context.api.get(
    `${pathOf(inferenceService, context.namespace, name)}/events`,
  )) as EventList;
  if (printRaw(context, list, options)) return;
  context.print(eventTable(list, new Date()));
}

export function eventTable(list: EventList, now: Date): string {
  const rows = [...list.items]
    .reverse()
    .map((e) => [
      ageOf(e.lastTime, now) + (e.count > 1 ? ` (x${e.count} over ${ageOf(e.firstTime, now)})` : ''),
      e.type,
      e.reason,
      e.message,
    ]);
  return renderTable(['AGE', 'TYPE', 'REASON', 'MESSAGE'], rows);
}

/** `muster history NAME`: what happened to each generation, oldest first. */
export async function history(context: Context, name: string, options: RecordOptions): Promise<void> {
  const list = (await context.api.get(
    `${pathOf(inferenceService, context.namespace, name)}/history`,
  )) as HistoryList;
  if (printRaw(context, list, options)) return;
  context.print(historyTable(list, new Date()));
}

export function historyTable(list: HistoryList, now: Date): string {
  const rows = [...list.items]
    .reverse()
    .map((r) => [
      String(r.generation),
      r.revision,
      r.outcome,
      r.runtime ?? '',
      r.modelUri ?? '',
      ageOf(r.startedAt, now),
      r.message,
    ]);
  return renderTable(['GENERATION', 'REVISION', 'OUTCOME', 'RUNTIME', 'MODEL', 'AGE', 'MESSAGE'], rows);
}

/** @returns true when the option asked for JSON or YAML, which is printed then */
export function printRaw(context: Context, value: unknown, { output }: RecordOptions): boolean {
  if (output === undefined) return false;
  context.print(output === 'json' ? JSON.stringify(value, null, 2) : stringify(value).trimEnd());
  return true;
}
