import { z } from 'zod';

/**
 * What the gateway keeps of answers, and for whom. Off until it is turned on, for all services or for one. The
 * defaults of a cache that is on are the careful ones: tenants apart, and only requests whose answer the client
 * itself asked to be repeatable.
 */
const semantic = {
  /** Answer from a similar prompt when the exact one is not there. */
  enabled: z.boolean().default(false),
  /** Model that embeds prompts: a served name, or namespace/name. */
  model: z.string().default(''),
  /** Cosine at or above which two prompts count as the same. */
  threshold: z.number().min(0.5).max(1).default(0.95),
  /** Prompts remembered per tenant; the oldest make room. */
  entriesMax: z.int().min(1).max(100_000).default(10_000),
  /** An embedding that takes longer is done without. */
  timeoutMs: z.int().positive().max(60_000).default(500),
  /** Longer prompts are only looked for exactly: embedding models read a few hundred words. */
  promptCharsMax: z.int().positive().default(2_000),
};

const rules = {
  enabled: z.boolean().default(false),
  /** How long an answer may be given again; 30 days at most. */
  ttlSeconds: z.number().positive().max(2_592_000).default(3_600),
  /** How long after its time an answer may be given when no server gives a new one; 0: never. */
  staleSeconds: z.number().min(0).max(2_592_000).default(0),
  /** How long a model server's refusal may be given again; 0: refusals are not kept. */
  negativeTtlSeconds: z.number().min(0).max(3_600).default(5),
  /** Refusals of a model server that say something of the request, not of the moment. */
  negativeStatuses: z.array(z.int().min(400).max(499)).max(20).default([400, 404, 422]),
  /** Larger answers are not kept. */
  entryBytesMax: z
    .int()
    .positive()
    .default(1024 * 1024),
  /** Larger requests are not looked up. */
  requestBytesMax: z
    .int()
    .positive()
    .default(1024 * 1024),
  /** `shared`: tenants may get each other's answers, which tells them what others asked. */
  scope: z.enum(['tenant', 'shared']).default('tenant'),
  /**
   * Only generations with temperature 0 or a seed. Whoever samples asks for a fresh answer each time, and most often
   * sends the same request twice to get two; embeddings and ranks are the same each time and need neither.
   */
  deterministicOnly: z.boolean().default(true),
  /** V1 predict and V2 infer too, by their exact bytes: only for models that are functions of their input. */
  kserve: z.boolean().default(false),
  /** Change it to forget all that was kept under another number. */
  epoch: z.int().min(0).default(0),
  semantic: z.strictObject(semantic).prefault({}),
};

export const CacheRules = z.strictObject(rules);
export type CacheRules = z.infer<typeof CacheRules>;

/** Rules of one service: what is not said is as for all. (`partial()` alone would fill in the defaults.) */
const CacheOverride = z.strictObject({
  enabled: rules.enabled.unwrap().optional(),
  ttlSeconds: rules.ttlSeconds.unwrap().optional(),
  staleSeconds: rules.staleSeconds.unwrap().optional(),
  negativeTtlSeconds: rules.negativeTtlSeconds.unwrap().optional(),
  negativeStatuses: rules.negativeStatuses.unwrap().optional(),
  entryBytesMax: rules.entryBytesMax.unwrap().optional(),
  requestBytesMax: rules.requestBytesMax.unwrap().optional(),
  scope: rules.scope.unwrap().optional(),
  deterministicOnly: rules.deterministicOnly.unwrap().optional(),
  kserve: rules.kserve.unwrap().optional(),
  epoch: rules.epoch.unwrap().optional(),
  semantic: z
    .strictObject({
      enabled: semantic.enabled.unwrap().optional(),
      model: semantic.model.unwrap().optional(),
      threshold: semantic.threshold.unwrap().optional(),
      entriesMax: semantic.entriesMax.unwrap().optional(),
      timeoutMs: semantic.timeoutMs.unwrap().optional(),
      promptCharsMax: semantic.promptCharsMax.unwrap().optional(),
    })
    .optional(),
});

const Local = z.strictObject({
  /** Memory of one process for answers; the least recently used make room. */
  bytesMax: z
    .int()
    .min(0)
    .default(64 * 1024 * 1024),
  /** Memory of one process for the vectors of prompts; the oldest of the tenant with the most make room. */
  vectorBytesMax: z
    .int()
    .min(0)
    .default(64 * 1024 * 1024),
});

const Shared = z.strictObject({
  /** Use Redis, where the gateway has one. */
  enabled: z.boolean().default(true),
  /** Answers from this size on are compressed. */
  compressBytesMin: z.int().min(0).default(2_048),
  /** A look-up that takes longer counts as a miss. */
  waitMs: z.number().positive().max(1_000).default(10),
  /** So many look-ups in a row that failed or were too late turn Redis off for `restMs`. */
  failuresMax: z.int().positive().default(5),
  restMs: z.int().positive().default(1_000),
  /** Writes under way at once; further answers are not written. */
  writesMax: z.int().positive().default(256),
  /**
   * How long gateways wait at most for one of them that asks a server the same, while it has the lock in Redis; 0:
   * each asks for itself.
   */
  lockMs: z.int().min(0).max(60_000).default(0),
});

const SingleFlight = z.strictObject({
  /** Requests for the same answer at once wait for the first of them. */
  enabled: z.boolean().default(true),
  /** Requests that may wait for one answer; further ones go to a server. */
  waitersMax: z.int().positive().default(1_000),
  /** Longest wait; then the request goes to a server by itself. */
  waitMs: z.int().positive().max(600_000).default(60_000),
  /** So many that asked in vain in a row let the others go on all at once. */
  leadersMax: z.int().positive().default(3),
});

export const CachePolicy = z.strictObject({
  ...rules,
  /** By namespace/name. */
  services: z.record(z.string(), CacheOverride).default({}),
  local: Local.prefault({}),
  shared: Shared.prefault({}),
  singleFlight: SingleFlight.prefault({}),
});
export type CachePolicy = z.infer<typeof CachePolicy>;
