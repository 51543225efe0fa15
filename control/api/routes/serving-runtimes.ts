import { ClusterServingRuntimeList, ServingRuntimeList } from '../../../domain/control/resources.schema.ts';
import {
  ClusterServingRuntime,
  ServingRuntime,
} from '../../../domain/serving-runtime/serving-runtime.schema.ts';
import type { AnyRuntime, RuntimeOutcome } from '../../store/runtimes.ts';
import { applyRuntime, deleteRuntime, existingRuntime } from '../change-runtime.ts';
import type { ApiContext } from '../deps.ts';
import type { Routes, TypedApp } from './route.ts';
import { InNamespace, Named, NamedInNamespace, refusals } from './route.ts';

const group = '/apis/serving.kserve.io/v1alpha1';
const apiVersion = 'serving.kserve.io/v1alpha1' as const;
const tags = ['servingruntimes'];

/** ServingRuntimes of namespaces and of the cluster: list, get, apply, delete. */
export const servingRuntimeRoutes: Routes = (app, context) => {
  namespaced(app, context);
  ofCluster(app, context);
};

function namespaced(app: TypedApp, context: ApiContext): void {
  const one = `${group}/namespaces/:ns/servingruntimes/:name`;
  const list = async (namespace?: string) => ({
    apiVersion,
    kind: 'ServingRuntimeList' as const,
    metadata: {},
    items: (await context.store.runtimes.lists(namespace)).servingRuntimes,
  });
  app.get(
    `${group}/servingruntimes`,
    {
      schema: {
        tags,
        summary: 'The runtimes of all namespaces',
        response: { 200: ServingRuntimeList, ...refusals },
      },
    },
    () => list(),
  );
  app.get(
    `${group}/namespaces/:ns/servingruntimes`,
    {
      schema: {
        tags,
        summary: 'The runtimes of a namespace',
        params: InNamespace,
        response: { 200: ServingRuntimeList, ...refusals },
      },
    },
    ({ params }) => list(params.ns),
  );
  app.get(
    one,
    {
      schema: {
        tags,
        summary: 'A runtime of a namespace',
        params: NamedInNamespace,
        response: { 200: ServingRuntime, ...refusals },
      },
    },
    async ({ params }) => (await existingRuntime(context, params.ns, params.name)) as ServingRuntime,
  );
  app.put(
    one,
    {
      schema: {
        tags,
        summary: 'Create a runtime of a namespace, or change it',
        params: NamedInNamespace,
        body: ServingRuntime,
        response: { 200: ServingRuntime, 201: ServingRuntime, ...refusals },
      },
    },
    async ({ params, body }, reply) => {
      const { object, outcome } = await applied(context, body, params.ns, params.name);
      return await reply
        .code(outcome === 'created' ? 201 : 200)
        .header('x-muster-outcome', outcome)
        .send(object as ServingRuntime);
    },
  );
  app.delete(
    one,
    {
      schema: {
        tags,
        summary: 'Delete a runtime of a namespace; 409 while services use it',
        params: NamedInNamespace,
        response: { 200: ServingRuntime, ...refusals },
      },
    },
    async ({ params }) => (await deleted(context, params.ns, params.name)) as ServingRuntime,
  );
}

function ofCluster(app: TypedApp, context: ApiContext): void {
  const one = `${group}/clusterservingruntimes/:name`;
  app.get(
    `${group}/clusterservingruntimes`,
    {
      schema: {
        tags,
        summary: 'The runtimes of the cluster',
        response: { 200: ClusterServingRuntimeList, ...refusals },
      },
    },
    async () => ({
      apiVersion,
      kind: 'ClusterServingRuntimeList' as const,
      metadata: {},
      items: (await context.store.runtimes.lists()).clusterServingRuntimes,
    }),
  );
  app.get(
    one,
    {
      schema: {
        tags,
        summary: 'A runtime of the cluster',
        params: Named,
        response: { 200: ClusterServingRuntime, ...refusals },
      },
    },
    async ({ params }) => (await existingRuntime(context, null, params.name)) as ClusterServingRuntime,
  );
  app.put(
    one,
    {
      schema: {
        tags,
        summary: 'Create a runtime of the cluster, or change it',
        params: Named,
        body: ClusterServingRuntime,
        response: { 200: ClusterServingRuntime, 201: ClusterServingRuntime, ...refusals },
      },
    },
    async ({ params, body }, reply) => {
      const { object, outcome } = await applied(context, body, null, params.name);
      return await reply
        .code(outcome === 'created' ? 201 : 200)
        .header('x-muster-outcome', outcome)
        .send(object as ClusterServingRuntime);
    },
  );
  app.delete(
    one,
    {
      schema: {
        tags,
        summary: 'Delete a runtime of the cluster; 409 while services use it',
        params: Named,
        response: { 200: ClusterServingRuntime, ...refusals },
      },
    },
    async ({ params }) => (await deleted(context, null, params.name)) as ClusterServingRuntime,
  );
}

async function applied(
  context: ApiContext,
  body: AnyRuntime,
  namespace: string | null,
  name: string,
): Promise<{ readonly object: AnyRuntime; readonly outcome: RuntimeOutcome }> {
  const result = await applyRuntime(context, body, namespace, name);
  context.metrics.changes.inc({ change: 'apply_runtime', outcome: result.outcome });
  return result;
}

async function deleted(context: ApiContext, namespace: string | null, name: string): Promise<AnyRuntime> {
  const runtime = await deleteRuntime(context, namespace, name);
  context.metrics.changes.inc({ change: 'delete_runtime', outcome: 'accepted' });
  return runtime;
}
