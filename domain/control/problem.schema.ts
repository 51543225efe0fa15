import { z } from 'zod';

/** RFC 9457 problem details: the body of every refusal of the control API (application/problem+json). */
export const Problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  /** For people: what is wrong and what to do. */
  detail: z.string(),
  /** An ErrorCode of domain/errors.ts. */
  code: z.string(),
  /** The fields that are wrong, where that can be said. */
  errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
});
export type Problem = z.infer<typeof Problem>;
