import { z } from 'zod';
import { batcherDefaults } from './batcher-defaults.ts';

/** Requests of a service that are joined into batches: KServe's `batcher`, as a service's route has it. */
export const BatcherRoute = z.object({
  /** Instances at which a batch is sent at once. */
  maxBatchSize: z.int().positive().default(batcherDefaults.maxBatchSize),
  /** How long the first request of a batch waits for others, milliseconds. */
  maxLatencyMs: z.int().positive().default(batcherDefaults.maxLatencyMs),
  /** How long a batch may take at its server, milliseconds. */
  timeoutMs: z.int().positive().default(batcherDefaults.timeoutMs),
});
export type BatcherRoute = z.infer<typeof BatcherRoute>;
