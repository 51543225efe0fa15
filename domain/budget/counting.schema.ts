import { z } from 'zod';

/** What budgets and rate limits say alike: whose requests count, into how many accounts, and what happens at the end. */
export const Counting = z.strictObject({
  /** Unlike the others of its kind; a new id is a new account. */
  id: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9._-]{0,62})$/, 'must be lower-case letters, digits, ".", "_" and "-"'),
  /** Requests that count; what is left out matches all. */
  match: z
    .strictObject({
      key: z.string().min(1).max(512).optional(),
      tenant: z.string().max(512).optional(),
      /**
       * The name under which a model counts, or a service with all its models by the service's own name; with or without
       * the namespace.
       */
      model: z.string().min(1).max(512).optional(),
      namespace: z.string().min(1).max(253).optional(),
    })
    .prefault({}),
  /** An account of its own for each; absent: one for all. */
  per: z.enum(['key', 'tenant', 'model']).optional(),
  /** `shadow`: what would be refused is counted and said, and served. */
  mode: z.enum(['enforce', 'shadow']).default('enforce'),
});

export type Counting = z.infer<typeof Counting>;

/** @param what the list holds, for people: `budgets` */
export function listOf<T extends z.ZodType<{ id: string }>>(item: T, what: string) {
  return z
    .array(item)
    .max(10_000)
    .refine((all) => new Set(all.map(({ id }) => id)).size === all.length, {
      message: `two ${what} have the same id`,
    })
    .default([]);
}
