import { z } from 'zod';
import { CreatedKey, KeyList, KeyRecord, NewKey, RotateKey } from '../../../domain/control/keys.schema.ts';
import { createKey, keyById, listKeys, revokeKey, rotateKey } from '../change-access.ts';
import type { Routes } from './route.ts';
import { refusals } from './route.ts';

const path = '/apis/muster.dev/v1alpha1/keys';
const tags = ['keys'];
const ById = z.object({ id: z.string().min(1).max(63) });

/** API keys of the gateways: create (the answer alone holds the key), list, look, revoke, rotate. */
export const keyRoutes: Routes = (app, context) => {
  app.post(
    path,
    {
      schema: {
        tags,
        summary: 'Create an API key; the answer is the only place where it is ever shown',
        body: NewKey,
        response: { 201: CreatedKey, ...refusals },
      },
    },
    async ({ body }, reply) => {
      const created = await createKey(context, body);
      context.metrics.changes.inc({ change: 'create_key', outcome: 'created' });
      return await reply.code(201).header('cache-control', 'no-store').send(created);
    },
  );
  app.get(
    path,
    {
      schema: {
        tags,
        summary: 'API keys that work, newest first; with ?all=true also those that have ended',
        querystring: z.object({ all: z.enum(['true', 'false']).optional() }),
        response: { 200: KeyList, ...refusals },
      },
    },
    async ({ query }) => ({ items: await listKeys(context, query.all === 'true') }),
  );
  app.get(
    `${path}/:id`,
    { schema: { tags, summary: 'An API key', params: ById, response: { 200: KeyRecord, ...refusals } } },
    ({ params }) => keyById(context, params.id),
  );
  app.delete(
    `${path}/:id`,
    {
      schema: {
        tags,
        summary: 'Revoke an API key: every gateway that is connected refuses it within a second',
        params: ById,
        response: { 200: KeyRecord, ...refusals },
      },
    },
    async ({ params }) => {
      const revoked = await revokeKey(context, params.id);
      context.metrics.changes.inc({ change: 'revoke_key', outcome: 'accepted' });
      return revoked;
    },
  );
  app.post(
    `${path}/:id/rotate`,
    {
      schema: {
        tags,
        summary: 'Create a key with the rights of another, which then ends, at once or after a time of grace',
        params: ById,
        body: RotateKey,
        response: { 201: CreatedKey, ...refusals },
      },
    },
    async ({ params, body }, reply) => {
      const created = await rotateKey(context, params.id, body.graceSeconds);
      context.metrics.changes.inc({ change: 'rotate_key', outcome: 'created' });
      return await reply.code(201).header('cache-control', 'no-store').send(created);
    },
  );
};
