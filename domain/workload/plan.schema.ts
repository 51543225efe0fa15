import { z } from 'zod';

/** What `muster plan` prints: what an apply would do, before it does it. */
export const PlanReport = z.object({
  namespace: z.string(),
  name: z.string(),
  action: z.enum(['Create', 'Update', 'NoChange', 'Refused']),
  /** Why it is refused; null otherwise. */
  refusal: z
    .object({ code: z.string(), reason: z.string(), message: z.string(), error: z.string() })
    .nullable(),
  /** The rest is null, or empty, when refused. */
  revision: z.string().nullable(),
  runtime: z
    .object({
      kind: z.string(),
      name: z.string(),
      why: z.string(),
      /** The runtimes that were not chosen. */
      others: z.array(z.object({ name: z.string(), why: z.string() })),
    })
    .nullable(),
  node: z.string().nullable(),
  protocols: z.array(z.string()),
  replicas: z.int().nullable(),
  models: z.array(z.string()),
  /** The command line, with the placeholders that only the node can fill. */
  command: z.array(z.string()),
  environment: z.string().nullable(),
  withoutEffect: z.array(z.string()),
  /** Paths of the spec, labels and annotations that change; empty for Create and NoChange. */
  changes: z.array(z.string()),
  /** One plain sentence for each thing that will happen, in order. */
  steps: z.array(z.string()),
});
export type PlanReport = z.infer<typeof PlanReport>;
