import { z } from 'zod';
import { tiers } from '../qos/tier.ts';

/**
 * Models that several services serve, each on another class of backend (A100, L40, CPU): a name, its backends with
 * price and speed, and which classes a tier of callers may use, in which order.
 */
export const backendRoles = ['primary', 'secondary', 'fallback'] as const;

const listMax = 64;

/** A label of metrics and a response header. */
const ClassName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'use letters, digits, dots, dashes and underscores');

const Backend = z.strictObject({
  /** namespace/name */
  service: z.string().regex(/^[^/\s]+\/[^/\s]+$/, 'write namespace/name'),
  class: ClassName,
  pricePerHour: z.number().nonnegative(),
  /** Relative: tokens a second, say. */
  speed: z.number().positive().default(1),
  /** Order within a class; `fallback` is asked only when nothing else is ready or has room. */
  role: z.enum(backendRoles).default('primary'),
  /** Requests that one endpoint takes well at once, where the section `qos` sets no limit; absent: any number. */
  slotsPerEndpoint: z.int().positive().optional(),
});
export type Backend = z.infer<typeof Backend>;

const Classes = z.array(ClassName).min(1).max(listMax);

export const ModelRoute = z
  .strictObject({
    /** Where the name is looked for; from other namespaces it is `namespace/name`. */
    namespace: z.string().min(1).default('default'),
    backends: z.array(Backend).min(1).max(listMax),
    /** Classes that a tier may use, best first; absent: all, see `classOrder`. */
    tiers: z.partialRecord(z.enum(tiers), Classes).default({}),
    /** Load (requests at once by what is allowed) at which the next class takes over. */
    spillAt: z.number().positive().max(1).default(0.9),
    /** Load at which it goes back; absent: four fifths of `spillAt`. */
    returnAt: z.number().nonnegative().max(1).optional(),
    /** Wake a class that suits a request better than the one that answers it. */
    wake: z.boolean().default(true),
  })
  .check(({ value, issues }) => {
    const known = new Set(value.backends.map((backend) => backend.class));
    const issue = (path: (string | number)[], message: string) =>
      issues.push({ code: 'custom', path, input: value, message });
    for (const [tier, classes] of Object.entries(value.tiers)) {
      for (const [at, name] of classes.entries())
        if (!known.has(name)) issue(['tiers', tier, at], `no backend is of class '${name}'`);
    }
    const services = new Set<string>();
    for (const [at, { service }] of value.backends.entries()) {
      if (services.has(service)) issue(['backends', at, 'service'], 'it was given before');
      services.add(service);
    }
    if (value.returnAt !== undefined && value.returnAt >= value.spillAt)
      issue(['returnAt'], 'must be less than spillAt');
  });
export type ModelRoute = z.infer<typeof ModelRoute>;

/** By the name that requests use. */
export const ModelRoutes = z.record(z.string().min(1).max(256), ModelRoute).default({});
export type ModelRoutes = z.infer<typeof ModelRoutes>;
