import type { FastifyRequest } from 'fastify';
import {
  GatewayPolicyList,
  GatewayPolicyResource,
} from '../../../domain/gateway-policy/gateway-policy-resource.schema.ts';
import type { GatewayPolicyObject } from '../../../domain/gateway-policy/gateway-policy-resource.schema.ts';
import { applyPolicy, deletePolicy, existingPolicy } from '../change-access.ts';
import { FieldsError } from '../problem.ts';
import type { Routes } from './route.ts';
import { Named, refusals } from './route.ts';

const list = '/apis/muster.dev/v1alpha1/gatewaypolicies';
const one = `${list}/:name`;
const tags = ['gatewaypolicies'];

/** The policy of the gateways: one manifest an installation, applied, read and deleted like others. */
export const gatewayPolicyRoutes: Routes = (app, context) => {
  // Checked by its schema, kept as it was written: see GatewayPolicyObject.
  const written = new WeakMap<FastifyRequest, unknown>();
  app.get(
    list,
    {
      schema: {
        tags,
        summary: 'The policy of the gateways, if there is one',
        response: { 200: GatewayPolicyList, ...refusals },
      },
    },
    async (_request, reply) => {
      const policy = context.access.policyObject;
      const items = policy === null ? [] : [policy];
      const head = { apiVersion: 'muster.dev/v1alpha1', kind: 'GatewayPolicyList', metadata: {} };
      return await reply.send({ ...head, items } as never);
    },
  );
  app.get(
    one,
    {
      schema: {
        tags,
        summary: 'The policy of the gateways, as it was written',
        params: Named,
        response: { 200: GatewayPolicyResource, ...refusals },
      },
    },
    ({ params }) => existingPolicy(context, params.name) as never,
  );
  app.put(
    one,
    {
      schema: {
        tags,
        summary: 'Set the policy of the gateways; connected ones have it within 100 ms',
        description: 'The header x-muster-outcome of the answer is created, configured or unchanged.',
        params: Named,
        body: GatewayPolicyResource,
        response: { 200: GatewayPolicyResource, 201: GatewayPolicyResource, ...refusals },
      },
      preValidation: (request, _reply, done) => {
        written.set(request, request.body);
        done();
      },
    },
    async (request, reply) => {
      const given = written.get(request) as GatewayPolicyObject;
      const { name } = request.params;
      if (given.metadata.name !== name) {
        const message = `metadata.name is "${given.metadata.name}", but the path names "${name}"`;
        throw new FieldsError([{ path: 'metadata.name', message }]);
      }
      const { object, outcome } = await applyPolicy(context, given);
      context.metrics.changes.inc({ change: 'apply_policy', outcome });
      return await reply
        .code(outcome === 'created' ? 201 : 200)
        .header('x-muster-outcome', outcome)
        .send(object as never);
    },
  );
  app.delete(
    one,
    {
      schema: {
        tags,
        summary: 'Delete the policy: gateways go back to the defaults, which let everybody in',
        params: Named,
        response: { 200: GatewayPolicyResource, ...refusals },
      },
    },
    async ({ params }) => {
      const policy = await deletePolicy(context, params.name);
      context.metrics.changes.inc({ change: 'delete_policy', outcome: 'accepted' });
      return policy as never;
    },
  );
};
