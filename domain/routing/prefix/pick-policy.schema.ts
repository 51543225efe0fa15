import { z } from 'zod';

/** How the endpoint of a request is chosen among those of one revision. */
export const PickPolicy = z.strictObject({
  /** `prefix`: prompts go where their beginning was served before, within bounds of load; other requests go to the least loaded. */
  algorithm: z.enum(['prefix', 'least-loaded']).default('prefix'),
});
export type PickPolicy = z.infer<typeof PickPolicy>;
