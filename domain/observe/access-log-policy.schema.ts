import { z } from 'zod';

/** The gateway's line a request. */
export const AccessLogPolicy = z.strictObject({
  /** Share of the lines of good answers that are written; refusals, errors and cut answers always are. 0: no line at all. */
  sample: z.number().min(0).max(1).default(1),
});
export type AccessLogPolicy = z.infer<typeof AccessLogPolicy>;
