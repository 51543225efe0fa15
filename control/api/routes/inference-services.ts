import { EventList, HistoryList } from '../../../domain/control/records.schema.ts';
import { AnsweredInferenceService, InferenceServiceList } from '../../../domain/control/resources.schema.ts';
import { InferenceService } from '../../../domain/inference-service/inference-service.schema.ts';
import type { InferenceService as ServiceObject } from '../../../domain/inference-service/inference-service.schema.ts';
import {
  applyService,
  deleteService,
  existing,
  putServiceToSleep,
  setServiceStopped,
} from '../change-service.ts';
import type { ApiContext } from '../deps.ts';
import type { Routes, TypedApp } from './route.ts';
import { InNamespace, NamedInNamespace, refusals } from './route.ts';

const group = '/apis/serving.kserve.io/v1beta1';
const one = `${group}/namespaces/:ns/inferenceservices/:name`;
const tags = ['inferenceservices'];

/** InferenceServices: list, get, apply, delete, stop and start, and what happened to them. */
export const inferenceServiceRoutes: Routes = (app, context) => {
  reading(app, context);
  changing(app, context);
};

function reading(app: TypedApp, context: ApiContext): void {
  const { services, records } = context.store;
  const list = async (namespace?: string) => ({
    apiVersion: 'serving.kserve.io/v1beta1' as const,
    kind: 'InferenceServiceList' as const,
    metadata: {},
    items: (await services.list(namespace)).map(({ object }) => object),
  });
  app.get(
    `${group}/inferenceservices`,
    {
      schema: {
        tags,
        summary: 'All services of all namespaces',
        response: { 200: InferenceServiceList, ...refusals },
      },
    },
    () => list(),
  );
  app.get(
    `${group}/namespaces/:ns/inferenceservices`,
    {
      schema: {
        tags,
        summary: 'The services of a namespace',
        params: InNamespace,
        response: { 200: InferenceServiceList, ...refusals },
      },
    },
    ({ params }) => list(params.ns),
  );
  app.get(
    one,
    {
      schema: {
        tags,
        summary: 'A service with its status',
        params: NamedInNamespace,
        response: { 200: AnsweredInferenceService, ...refusals },
      },
    },
    async ({ params }) => (await existing(context, params.ns, params.name)).object,
  );
  app.get(
    `${one}/events`,
    {
      schema: {
        tags,
        summary: 'What happened to a service, newest first',
        params: NamedInNamespace,
        response: { 200: EventList, ...refusals },
      },
    },
    async ({ params }) => {
      await existing(context, params.ns, params.name);
      return { items: await records.events(params.ns, params.name) };
    },
  );
  app.get(
    `${one}/history`,
    {
      schema: {
        tags,
        summary: 'The revisions of a service, newest first',
        params: NamedInNamespace,
        response: { 200: HistoryList, ...refusals },
      },
    },
    async ({ params }) => {
      await existing(context, params.ns, params.name);
      return { items: await records.revisions(params.ns, params.name) };
    },
  );
}

function changing(app: TypedApp, context: ApiContext): void {
  app.put(
    one,
    {
      schema: {
        tags,
        summary: 'Create a service, or make it as the manifest says',
        description: 'The header x-muster-outcome of the answer is created, configured or unchanged.',
        params: NamedInNamespace,
        body: InferenceService,
        response: { 200: AnsweredInferenceService, 201: AnsweredInferenceService, ...refusals },
      },
    },
    async ({ params, body }, reply) => {
      const { object, outcome } = await applyService(context, body as ServiceObject, params.ns, params.name);
      context.metrics.changes.inc({ change: 'apply', outcome });
      return await reply
        .code(outcome === 'created' ? 201 : 200)
        .header('x-muster-outcome', outcome)
        .send(object);
    },
  );
  app.delete(
    one,
    {
      schema: {
        tags,
        summary: 'Delete a service; the answer is the object with deletion under way',
        params: NamedInNamespace,
        response: { 202: AnsweredInferenceService, ...refusals },
      },
    },
    async ({ params }, reply) => {
      const object = await deleteService(context, params.ns, params.name);
      context.metrics.changes.inc({ change: 'delete', outcome: 'accepted' });
      return await reply.code(202).send(object);
    },
  );
  app.post(
    `${one}/sleep`,
    {
      schema: {
        tags,
        summary: 'Let a service sleep: no server of it runs until a request wakes it',
        params: NamedInNamespace,
        response: { 200: AnsweredInferenceService, ...refusals },
      },
    },
    async ({ params }) => {
      const object = await putServiceToSleep(context, params.ns, params.name);
      context.metrics.changes.inc({ change: 'sleep', outcome: 'accepted' });
      return object;
    },
  );
  for (const [verb, stopped] of [
    ['stop', true],
    ['start', false],
  ] as const) {
    app.post(
      `${one}/${verb}`,
      {
        schema: {
          tags,
          summary: stopped ? 'Stop a service; its spec stays' : 'Start a stopped service',
          params: NamedInNamespace,
          response: { 200: AnsweredInferenceService, ...refusals },
        },
      },
      async ({ params }) => {
        const object = await setServiceStopped(context, params.ns, params.name, stopped);
        context.metrics.changes.inc({ change: verb, outcome: 'accepted' });
        return object;
      },
    );
  }
}
