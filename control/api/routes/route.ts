import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { Problem } from '../../../domain/control/problem.schema.ts';
import type { ApiContext } from '../deps.ts';

export type TypedApp = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;
/** A file of routes: registers them on the app. */
export type Routes = (app: TypedApp, context: ApiContext) => void;

/** A Kubernetes name in a path. */
const name = z.string().min(1).max(253);
export const InNamespace = z.object({ ns: name });
export const Named = z.object({ name });
export const NamedInNamespace = z.object({ ns: name, name });

/** Every refusal has this body. */
export const refusals = {
  default: {
    description: 'A refusal (RFC 9457)',
    content: { 'application/problem+json': { schema: Problem } },
  },
};

export const Empty = z.object({});
