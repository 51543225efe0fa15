import { stringify } from 'yaml';
import type { EventList, HistoryList } from '../../../domain/control/records.schema.ts';
import type { InferenceService } from '../../../domain/inference-service/inference-service.schema.ts';
import type { Context } from '../context.ts';
import { ageOf } from '../age.ts';
import { CliError, exitCodes } from '../exit-codes.ts';
import { inferenceService, pathOf } from '../kinds.ts';
import { phaseOf, type AnyObject } from '../objects.ts';
import { renderTable } from '../table.ts';
import { target } from './get.ts';
import { eventTable, historyTable, printRaw, type RecordOptions } from './records.ts';

/** `muster describe [KIND] NAME`: all that is known about one object, in kubectl's manner. */
export async function describe(
  context: Context,
  words: readonly string[],
  options: RecordOptions,
): Promise<void> {
  const { kind, name } = target(words);
  if (name === undefined) throw new CliError('Give the NAME of what to describe.', exitCodes.usage);
  const path = pathOf(kind, context.namespace, name);
  const object = (await context.api.get(path)) as AnyObject;
  if (kind !== inferenceService) {
    if (!printRaw(context, object, options)) context.print(stringify(object).trimEnd());
    return;
  }
  const events = (await context.api.get(`${path}/events`)) as EventList;
  const history = (await context.api.get(`${path}/history`)) as HistoryList;
  if (printRaw(context, { object, events: events.items, history: history.items }, options)) return;
  context.print(describeService(object as InferenceService, events, history, new Date()));
}

export function describeService(
  service: InferenceService,
  events: EventList,
  history: HistoryList,
  now: Date,
): string {
  const { metadata, spec, status } = service;
  const sections = [
    fields([
      ['Name', metadata.name],
      ['Namespace', metadata.namespace],
      ['Labels', pairs(metadata.labels)],
      ['Annotations', pairs(metadata.annotations)],
      ['Created', metadata.creationTimestamp],
      ['Generation', `${metadata.generation ?? '?'} (observed ${status?.observedGeneration ?? 'none'})`],
      ['Phase', phaseOf(service)],
      ['URL', status?.url],
      ['Address', status?.address?.url],
    ]),
    `Spec:\n${indent(stringify(spec).trimEnd())}`,
    conditions(service, now),
    modelStatus(service),
    `Revisions:\n${indent(history.items.length === 0 ? '<none>' : historyTable(history, now))}`,
    `Events:\n${indent(events.items.length === 0 ? '<none>' : eventTable(events, now))}`,
  ];
  return sections.filter((s) => s !== '').join('\n');
}

function conditions({ status }: InferenceService, now: Date): string {
  const rows = (status?.conditions ?? []).map((c) => [
    c.type,
    c.status,
    c.reason ?? '',
    ageOf(c.lastTransitionTime, now),
    c.message ?? '',
  ]);
  return `Conditions:\n${indent(rows.length === 0 ? '<none>' : renderTable(['TYPE', 'STATUS', 'REASON', 'AGE', 'MESSAGE'], rows))}`;
}

function modelStatus({ status }: InferenceService): string {
  const model = status?.modelStatus;
  if (model === undefined) return '';
  const failure = model.lastFailureInfo;
  const lines = fields([
    ['Transition', model.transitionStatus],
    ['Active Model', model.states.activeModelState],
    ['Target Model', model.states.targetModelState],
    [
      'Copies',
      model.copies === undefined
        ? undefined
        : `${model.copies.totalCopies} total, ${model.copies.failedCopies} failed`,
    ],
    [
      'Last Failure',
      failure === undefined ? undefined : `${failure.reason} at ${failure.time}: ${failure.message}`,
    ],
    ['Failed Revision', failure?.modelRevisionName],
  ]);
  return `Model Status:\n${indent(lines)}`;
}

function fields(entries: readonly (readonly [string, string | undefined])[]): string {
  const given = entries.filter(([, value]) => value !== undefined && value !== '');
  const width = Math.max(...given.map(([name]) => name.length)) + 3;
  return given
    .map(
      ([name, value]) =>
        `${`${name}:`.padEnd(width)}${(value ?? '').replaceAll('\n', `\n${' '.repeat(width)}`)}`,
    )
    .join('\n');
}

const pairs = (record: Readonly<Record<string, string>> | undefined): string =>
  Object.entries(record ?? {})
    .map(([key, value]) => `${key}=${value}`)
    .join('\n');

const indent = (text: string): string => text.replaceAll(/^(?=.)/gm, '  ');
