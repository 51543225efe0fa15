import { z } from 'zod';
import type { EventRecord, RevisionRecord } from '../inference-service/messages.ts';

/** Events and history of a service: how workers write them, and how the public routes list them. */
export const EventBody = z.object({
  namespace: z.string(),
  name: z.string(),
  type: z.enum(['Normal', 'Warning']),
  reason: z.string().max(256),
  message: z.string().max(16_384),
  time: z.string(),
}) satisfies z.ZodType<EventRecord>;

export const RevisionBody = z.object({
  namespace: z.string(),
  name: z.string(),
  generation: z.int(),
  revision: z.string(),
  runtime: z.string().nullable(),
  modelUri: z.string().nullable(),
  startedAt: z.string(),
  finishedAt: z.string().nullable(),
  outcome: z.enum(['InProgress', 'Serving', 'Failed', 'Superseded', 'Replaced', 'Stopped', 'Removed']),
  message: z.string(),
}) satisfies z.ZodType<RevisionRecord>;

/** An event as listed: equal consecutive ones are one line with a count. */
export const ListedEvent = EventBody.omit({ time: true }).extend({
  count: z.int().min(1),
  firstTime: z.string(),
  lastTime: z.string(),
});
export type ListedEvent = z.infer<typeof ListedEvent>;

/** GET …/events: newest first. */
export const EventList = z.object({ items: z.array(ListedEvent) });
export type EventList = z.infer<typeof EventList>;

/** GET …/history: newest first. */
export const HistoryList = z.object({ items: z.array(RevisionBody) });
export type HistoryList = z.infer<typeof HistoryList>;
