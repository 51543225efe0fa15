import { z } from 'zod';

/**
 * Copies of requests and answers, as CloudEvents: the section `payloadLog` of the gateway policy (sinks of whoever runs
 * the gateway, bounds) and what a service says for itself (KServe's `logger`).
 */
export const loggerModes = ['all', 'request', 'response'] as const;

const HeaderName = z.string().regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/, 'must be the name of a header');

/** A service's own `logger`, as its route has it. */
export const LoggerRoute = z.object({
  /** Absent: the policy's `defaultUrl`. */
  url: z.string().optional(),
  mode: z.enum(loggerModes),
  metadataHeaders: z.array(z.string()).optional(),
  /** Annotations of the service that each event repeats. */
  annotations: z.record(z.string(), z.string()).optional(),
});
export type LoggerRoute = z.infer<typeof LoggerRoute>;

const SinkUrl = z.string().max(2_048).refine(isPlainHttp, 'must be http or https, without user and password');

const Sink = z.strictObject({
  url: SinkUrl,
  mode: z.enum(loggerModes).default('all'),
  /** `binary`: attributes are headers, the payload is the body; `structured`: all in one JSON object. */
  format: z.enum(['binary', 'structured']).default('binary'),
  /** `namespace/name`, `namespace/*` or `*`. */
  services: z.array(z.string().min(1).max(512)).min(1).max(256).default(['*']),
  metadataHeaders: z.array(HeaderName).max(64).default([]),
});
export type Sink = z.infer<typeof Sink>;

export const PayloadLogPolicy = z.strictObject({
  /** Each gets its copy of the events of its services. */
  sinks: z.array(Sink).max(16).default([]),
  /** For services whose `logger` names no URL; null: their events are dropped, and counted. */
  defaultUrl: SinkUrl.nullable().default(null),
  /** Format of events to sinks that services name. */
  format: z.enum(['binary', 'structured']).default('binary'),
  /** Services may name sinks on this machine and in private networks (in a cluster, every service is in one). */
  allowPrivateSinks: z.boolean().default(false),
  /** CloudEvents' `source`. */
  source: z
    .string()
    .regex(/^[\x21-\x7e]+$/, 'must be a URI reference')
    .default('muster-gateway'),
  /** Larger payloads are not logged. */
  payloadBytesMax: z
    .int()
    .positive()
    .default(1024 * 1024),
  /** Events waiting for one sink; more are dropped. */
  eventsMax: z.int().positive().default(1_000),
  /** Bytes waiting for all sinks together; more are dropped. */
  bytesMax: z
    .int()
    .positive()
    .default(64 * 1024 * 1024),
  /** Events on their way to one sink at once. */
  sendsMax: z.int().positive().max(64).default(8),
  /** Times that an event is sent before it is given up. */
  triesMax: z.int().positive().max(10).default(3),
  /** One try, milliseconds. */
  timeoutMs: z.int().positive().default(5_000),
});
export type PayloadLogPolicy = z.infer<typeof PayloadLogPolicy>;

/** The form alone: where it leads is for who connects. */
export function isPlainHttp(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password } = new URL(text);
  return (protocol === 'http:' || protocol === 'https:') && username === '' && password === '';
}
