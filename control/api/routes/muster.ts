import { Progress } from '../../../domain/control/internal-api.schema.ts';
import { ControlStatus } from '../../../domain/control/status.schema.ts';
import { InferenceService } from '../../../domain/inference-service/inference-service.schema.ts';
import type { InferenceService as ServiceObject } from '../../../domain/inference-service/inference-service.schema.ts';
import { planChange } from '../../../domain/workload/plan.ts';
import { PlanReport } from '../../../domain/workload/plan.schema.ts';
import { resolve } from '../../../domain/workload/resolve.ts';
import { admit } from '../change-service.ts';
import type { ApiContext } from '../deps.ts';
import { timeOf } from '../deps.ts';
import type { Routes } from './route.ts';
import { refusals } from './route.ts';

const group = '/apis/muster.dev/v1alpha1';
const tags = ['muster'];

/** Routes of Muster's own: what an apply would do, what is under way, how the installation is. */
export const musterRoutes: Routes = (app, context) => {
  app.post(
    `${group}/plan`,
    {
      schema: {
        tags,
        summary: 'What applying a manifest would do; changes nothing',
        body: InferenceService,
        response: { 200: PlanReport, ...refusals },
      },
    },
    ({ body }) => plan(context, body as ServiceObject),
  );
  app.get(
    `${group}/progress`,
    { schema: { tags, summary: 'Long work under way', response: { 200: Progress, ...refusals } } },
    () => progress(context),
  );
  app.get(
    `${group}/status`,
    {
      schema: {
        tags,
        summary: 'The whole installation at a glance',
        response: { 200: ControlStatus, ...refusals },
      },
    },
    () => status(context),
  );
};

async function plan(context: ApiContext, given: ServiceObject): Promise<PlanReport> {
  const namespace = given.metadata.namespace ?? 'default';
  const previous = await context.store.services.get(namespace, given.metadata.name);
  const next = admit(given, namespace, given.metadata.name, previous, timeOf(context));
  const lists = await context.store.runtimes.lists(namespace);
  const node = context.reports.live()[0] ?? context.site.node;
  const resolved = resolve(next, lists, (previous?.generation ?? 0) + 1, node);
  return planChange(previous?.object ?? null, resolved, next);
}

function progress(context: ApiContext): Progress {
  const reports = context.reports.all().map(({ report }) => report);
  return {
    transfers: reports.flatMap(({ transfers }) => transfers),
    replicas: reports.flatMap(({ replicas }) => replicas),
    notices: [...new Set(reports.flatMap(({ notices }) => notices))],
  };
}

async function status(context: ApiContext): Promise<ControlStatus> {
  const { site } = context;
  return {
    version: site.version,
    startedAt: site.startedAt,
    gatewayUrl: site.gatewayUrl,
    temporal: {
      address: site.temporalAddress,
      uiUrl: site.temporalUiUrl,
      reachable: await context.lifecycle.isReachable(),
    },
    gateways: context.gateways
      .list()
      .gateways.map(({ gateway, version, connectedAt }) => ({ gateway, version, connectedAt })),
    routesVersion: context.routes.table.version,
    nodes: context.reports.all().map(({ report, heardAt }) => ({
      node: report.node,
      lastSeen: Number.isFinite(heardAt) ? new Date(heardAt).toISOString() : null,
      notices: report.notices,
      replicas: {
        total: report.replicas.length,
        ready: report.replicas.filter(({ state }) => state === 'Ready').length,
      },
    })),
    services: context.observations.counts(),
  };
}
