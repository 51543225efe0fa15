import { z } from 'zod';
import { tiers } from '../qos/tier.ts';
import { windowMs } from './lines.ts';

/** Files and batches as OpenAI's API has them: what its clients send and read. */
export const filePurposes = [
  'batch',
  'batch_output',
  'user_data',
  'fine-tune',
  'assistants',
  'vision',
  'evals',
] as const;

export const StoredFile = z.object({
  id: z.string(),
  object: z.literal('file'),
  bytes: z.int().min(0),
  /** Unix seconds, as all times here. */
  created_at: z.int(),
  expires_at: z.int().optional(),
  filename: z.string(),
  purpose: z.enum(filePurposes),
  status: z.literal('processed'),
});
export type StoredFile = z.infer<typeof StoredFile>;

/** Paths that a batch may ask; each line names the same. */
export const batchEndpoints = [
  '/v1/chat/completions',
  '/v1/completions',
  '/v1/embeddings',
  '/v1/responses',
  '/v1/moderations',
  '/v1/rerank',
  '/v1/score',
] as const;

export const BatchRequest = z.object({
  input_file_id: z.string().max(100),
  endpoint: z.enum(batchEndpoints),
  /** OpenAI has 24h alone; any number of minutes, hours or days up to 7 days is taken here. */
  completion_window: z
    .string()
    .refine(
      (window) => !Number.isNaN(windowMs(window)),
      'must be minutes, hours or days, up to 7d: 24h, for example',
    ),
  metadata: z.record(z.string().max(64), z.string().max(512)).nullish(),
});
export type BatchRequest = z.infer<typeof BatchRequest>;

/** Nothing of such a batch changes any more. */
export const endedStatuses = ['completed', 'failed', 'expired', 'cancelled'] as const;
const batchStatuses = ['validating', 'in_progress', 'cancelling', 'finalizing', ...endedStatuses] as const;
const BatchError = z.object({
  code: z.string(),
  message: z.string(),
  param: z.string().nullable(),
  line: z.int().nullable(),
});
export type BatchError = z.infer<typeof BatchError>;

const time = z.int().nullable();
export const Batch = z.object({
  id: z.string(),
  object: z.literal('batch'),
  endpoint: z.enum(batchEndpoints),
  errors: z.object({ object: z.literal('list'), data: z.array(BatchError) }).nullable(),
  input_file_id: z.string(),
  completion_window: z.string(),
  status: z.enum(batchStatuses),
  output_file_id: z.string().nullable(),
  error_file_id: z.string().nullable(),
  created_at: z.int(),
  in_progress_at: time,
  expires_at: z.int(),
  finalizing_at: time,
  completed_at: time,
  failed_at: time,
  expired_at: time,
  cancelling_at: time,
  cancelled_at: time,
  request_counts: z.object({ total: z.int(), completed: z.int(), failed: z.int() }),
  metadata: z.record(z.string(), z.string()).nullable(),
});
export type Batch = z.infer<typeof Batch>;

/**
 * Under whose name the lines of a batch are asked; no secret, only what a key or token said of its holder. The models of
 * a key or a certificate are those of the policy in force, and need not be here.
 */
export const CallerRecord = z.object({
  id: z.string(),
  kind: z.enum(['anonymous', 'key', 'token', 'certificate', 'internal']),
  tenant: z.string(),
  tier: z.enum(tiers),
  namespace: z.string().nullable(),
  scopes: z.array(z.string()),
  models: z.array(z.string()),
});

/** A line of the input that has no result yet. */
export const BatchLine = z.object({
  /** 0 for the first. */
  line: z.int().min(0),
  customId: z.string(),
  /** The body's own text, numbers and all. */
  body: z.string(),
});
export type BatchLine = z.infer<typeof BatchLine>;

export const BatchLines = z.object({
  endpoint: z.enum(batchEndpoints),
  caller: CallerRecord,
  lines: z.array(BatchLine),
});
export type BatchLines = z.infer<typeof BatchLines>;

export const BatchResult = z.object({
  line: z.int().min(0),
  /** Status below 400. */
  ok: z.boolean(),
  /** A line of the output or error file, without its line feed. */
  text: z.string(),
});
export type BatchResult = z.infer<typeof BatchResult>;

/** What the workflow is told once the input was looked through. */
export const BatchPlan = z.object({
  /** False: the input is wrong and the batch has failed. */
  isValid: z.boolean(),
  total: z.int().min(0),
  /** Unix milliseconds. */
  expiresAt: z.number(),
});
export type BatchPlan = z.infer<typeof BatchPlan>;
