import { z } from 'zod';
import {
  GatewayList,
  NodeReport,
  RouteAssignment,
  RouteVersion,
  WakeRequest,
} from '../../../domain/control/internal-api.schema.ts';
import { EventBody, RevisionBody } from '../../../domain/control/records.schema.ts';
import { PublishedObject } from '../../../domain/control/resources.schema.ts';
import type { PublishedObject as Published } from '../../../domain/control/resources.schema.ts';
import { MusterError } from '../../../domain/errors.ts';
import { GatewayReport } from '../../../domain/route-table/route-table.schema.ts';
import { RuntimeLists } from '../../../domain/serving-runtime/serving-runtime.schema.ts';
import { forgetService } from '../change-service.ts';
import type { ApiContext } from '../deps.ts';
import { FieldsError } from '../problem.ts';
import type { Routes, TypedApp } from './route.ts';
import { Empty, NamedInNamespace, refusals } from './route.ts';

const tags = ['internal'];

/** What Muster's own processes say and ask; the contract is domain/control/internal-api.schema.ts. */
export const internalRoutes: Routes = (app, context) => {
  nodes(app, context);
  services(app, context);
  wake(app, context);
  routeAssignments(app, context);
  records(app, context);
};

function nodes(app: TypedApp, context: ApiContext): void {
  app.get(
    '/internal/runtimes',
    {
      schema: {
        tags,
        summary: 'All that runtime selection may choose from',
        querystring: z.object({ namespace: z.string().optional() }),
        response: { 200: RuntimeLists, ...refusals },
      },
    },
    ({ query }) => context.store.runtimes.lists(query.namespace),
  );
  app.get(
    '/internal/nodes',
    {
      schema: {
        tags,
        summary: 'The last report of each node',
        response: { 200: z.object({ nodes: z.array(NodeReport) }), ...refusals },
      },
    },
    () => ({ nodes: context.reports.all().map(({ report }) => report) }),
  );
  app.put(
    '/internal/nodes/:node/report',
    {
      schema: {
        tags,
        summary: 'What a node runs now',
        params: z.object({ node: z.string().min(1).max(253) }),
        body: NodeReport,
        response: { 200: Empty, ...refusals },
      },
    },
    async ({ params, body }) => {
      agree('node', body.node, params.node);
      await context.reports.put(body);
      return {};
    },
  );
}

function services(app: TypedApp, context: ApiContext): void {
  app.put(
    '/internal/inferenceservices/:ns/:name',
    {
      schema: {
        tags,
        summary: 'A service with the status that its workflow gives it',
        params: NamedInNamespace,
        body: PublishedObject,
        response: { 200: Empty, ...refusals },
      },
    },
    async ({ params, body }) => {
      const { object, phase } = body as Published;
      agree('object.metadata.name', object.metadata.name, params.name);
      agree('object.metadata.namespace', object.metadata.namespace ?? 'default', params.ns);
      if (!(await context.store.services.publish(object, phase))) {
        throw new MusterError(
          'conflict',
          `A newer generation of ${params.ns}/${params.name} than ${object.metadata.generation ?? 0} is stored.`,
        );
      }
      context.observations.setService({ object, phase, generation: object.metadata.generation ?? 0 });
      return {};
    },
  );
  app.delete(
    '/internal/inferenceservices/:ns/:name',
    {
      schema: {
        tags,
        summary: 'Forget a service, its routes, events and history',
        params: NamedInNamespace,
        response: { 200: Empty, ...refusals },
      },
    },
    async ({ params }) => {
      await forgetService(context, params.ns, params.name);
      return {};
    },
  );
}

function wake(app: TypedApp, context: ApiContext): void {
  app.post(
    '/internal/wake',
    {
      schema: {
        tags,
        summary: 'Wake a service that is asleep; nothing happens to one that is awake',
        description:
          'A gateway calls it while requests wait, and again until its table shows the service ready.',
        body: WakeRequest,
        response: { 200: Empty, ...refusals },
      },
    },
    async ({ body }) => {
      await context.lifecycle.wake(body.namespace, body.name);
      return {};
    },
  );
}

function routeAssignments(app: TypedApp, context: ApiContext): void {
  const path = '/internal/routes/:ns/:name';
  app.put(
    path,
    {
      schema: {
        tags,
        summary: 'Decide the traffic of a service',
        description: '409 while a revision in traffic of a Serving service has no ready replica reported.',
        params: NamedInNamespace,
        body: RouteAssignment,
        response: { 200: RouteVersion, ...refusals },
      },
    },
    async ({ params, body }) => {
      agree('name', body.name, params.name);
      agree('namespace', body.namespace, params.ns);
      return { version: await context.routes.put(body) };
    },
  );
  app.delete(
    path,
    {
      schema: {
        tags,
        summary: 'Withdraw the routes of a service',
        params: NamedInNamespace,
        response: { 200: RouteVersion, ...refusals },
      },
    },
    async ({ params }) => ({ version: await context.routes.remove(params.ns, params.name) }),
  );
  app.post(
    '/internal/gateways/report',
    {
      schema: {
        tags,
        summary: 'Which table a gateway has, and what it still drains',
        body: GatewayReport,
        response: { 200: Empty, ...refusals },
      },
    },
    async ({ body }) => {
      context.gateways.report(body);
      await context.routes.atLeast(body.version);
      return {};
    },
  );
  app.get(
    '/internal/gateways',
    {
      schema: {
        tags,
        summary: 'Gateways whose route stream is open',
        response: { 200: GatewayList, ...refusals },
      },
    },
    () => context.gateways.list(),
  );
}

function records(app: TypedApp, context: ApiContext): void {
  app.post(
    '/internal/events',
    {
      schema: {
        tags,
        summary: 'Record an event of a service',
        body: EventBody,
        response: { 200: Empty, ...refusals },
      },
    },
    async ({ body }) => {
      await context.store.records.addEvent(body);
      return {};
    },
  );
  app.put(
    '/internal/revisions/:ns/:name/:revision',
    {
      schema: {
        tags,
        summary: 'Record what happened to a revision',
        params: NamedInNamespace.extend({ revision: z.string().min(1).max(253) }),
        body: RevisionBody,
        response: { 200: Empty, ...refusals },
      },
    },
    async ({ params, body }) => {
      agree('revision', body.revision, params.revision);
      agree('name', body.name, params.name);
      agree('namespace', body.namespace, params.ns);
      await context.store.records.putRevision(body);
      return {};
    },
  );
}

function agree(path: string, inBody: string, inPath: string): void {
  if (inBody === inPath) return;
  throw new FieldsError([{ path, message: `${path} is "${inBody}", but the path names "${inPath}"` }]);
}
