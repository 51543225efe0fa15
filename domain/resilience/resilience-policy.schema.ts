import { z } from 'zod';

/**
 * What an operator may say about failures, for all services and for each one. Every field may be left out: the
 * defaults are in settings.ts, and a service's own words come before those for all.
 */
const statuses = z.array(z.int().min(400).max(599)).max(20);
const percent = z.number().min(0).max(100);
const milliseconds = z.int().min(1).max(86_400_000);
const serviceKey = z.string().regex(/^[^/\s]+\/[^/\s]+$/, 'name a service as namespace/name');

export const ServiceResilience = z.strictObject({
  /** Whole time of a request; null: the service's own, or none. The shorter of both counts. */
  totalMs: milliseconds.nullable().optional(),
  retry: z
    .strictObject({
      /** Tries of a request at its service, the first one too; each further service gets at least one. */
      tries: z.int().min(1).max(10).optional(),
      /** No try begins later than this after the first failure; tries that a time of their own ended are exempt. */
      windowMs: milliseconds.optional(),
      /** A server's answers that are tried elsewhere as long as nothing reached the client. */
      statuses: statuses.optional(),
      /** A `Retry-After` up to this is waited for when there is no other endpoint. */
      retryAfterMsMax: z.int().min(0).max(60_000).optional(),
      /** From a request sent to its response's head; longer: another try. Null: the gateway's bound, and no other try. */
      perTryMs: milliseconds.nullable().optional(),
      /** Repeated requests may be this share of all, */
      budgetPercent: percent.optional(),
      /** … and this many a second besides. */
      budgetPerSecond: z.number().min(0).max(10_000).optional(),
    })
    .optional(),
  outlier: z
    .strictObject({
      /** Failures in a row that eject an endpoint; 0: never. */
      consecutiveFailures: z.int().min(0).max(1_000).optional(),
      /** A server's answers that count as failures. */
      statuses: statuses.optional(),
      /** Share of failures within the window that ejects; 0: never. */
      failurePercent: percent.optional(),
      minimumRequests: z.int().min(1).max(100_000).optional(),
      windowMs: milliseconds.optional(),
      /** First ejection; each one soon after another lasts twice as long, up to `maxMs`. */
      baseMs: milliseconds.optional(),
      maxMs: milliseconds.optional(),
      /** No more than this share of a service's ready endpoints is ejected at once. */
      maxEjectedPercent: percent.optional(),
      /** Requests that a recovering endpoint may have at once, and must answer before it is trusted again. */
      probes: z.int().min(1).max(100).optional(),
      /** Ejects an endpoint whose mean time to a first byte is so many times its neighbours' median; 0: never. */
      latencyFactor: z.number().min(0).max(1_000).optional(),
    })
    .optional(),
  activeHealth: z
    .strictObject({
      /** Which endpoints are asked for their health: none, ejected ones, or all. */
      mode: z.enum(['off', 'ejected', 'all']).optional(),
      /** Null: by what the service speaks, `/health`, `/v2/health/ready` or `/`. */
      path: z.string().startsWith('/').max(512).nullable().optional(),
      /** Between two questions to one endpoint: the shorter while it fails, the longer while it is well. */
      intervalMs: milliseconds.optional(),
      intervalMsMax: milliseconds.optional(),
      timeoutMs: milliseconds.optional(),
    })
    .optional(),
  hedge: z
    .strictObject({
      /** When a second server is asked: never, after a fixed time, or after the 95th percentile of recent ones. */
      after: z.union([z.literal('never'), z.literal('p95'), milliseconds]).optional(),
      /** The 95th percentile is never taken for less than this. */
      minimumMs: milliseconds.optional(),
      /** Share of requests that may be asked twice. */
      budgetPercent: percent.optional(),
    })
    .optional(),
  midStream: z
    .strictObject({
      /** A stream that its server cut: an error event, or the rest from another server. */
      mode: z.enum(['error', 'continue']).optional(),
      /** How its servers continue an answer in chat; detect: llama.cpp's names itself, others do not continue. */
      chat: z.enum(['detect', 'llama.cpp', 'vllm', 'never']).optional(),
      /** Of one answer. */
      continuationsMax: z.int().min(1).max(10).optional(),
    })
    .optional(),
  wake: z
    .strictObject({
      /** How long a request waits for a sleeping service; 0: it is refused at once. */
      holdMs: z.int().min(0).max(3_600_000).optional(),
      /** Requests that wait for one service at once. */
      holdersMax: z.int().min(1).max(100_000).optional(),
      /** Bytes of bodies that wait for one service at once. */
      holdBytesMax: z.int().min(1).optional(),
      /** Streams are told by a comment line how the wake is going, this often; 0: never. */
      progressMs: z.int().min(0).max(600_000).optional(),
    })
    .optional(),
});
export type ServiceResilience = z.infer<typeof ServiceResilience>;

export const ResiliencePolicy = z.strictObject({
  all: ServiceResilience.optional(),
  services: z.record(serviceKey, ServiceResilience).optional(),
  /** Services that answer in a service's place when it cannot, in this order. */
  fallbacks: z.record(serviceKey, z.array(serviceKey).max(5)).optional(),
});
export type ResiliencePolicy = z.infer<typeof ResiliencePolicy>;
