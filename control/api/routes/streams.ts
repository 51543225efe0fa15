import { z } from 'zod';
import { Observation } from '../../../domain/control/internal-api.schema.ts';
import { RouteTable } from '../../../domain/route-table/route-table.schema.ts';
import { MusterError } from '../../../domain/errors.ts';
import { timeOf } from '../deps.ts';
import { SnapshotStreams } from '../snapshot-streams.ts';
import type { Routes } from './route.ts';
import { refusals } from './route.ts';

const streamsMax = 256;
const heartbeatMs = 5_000;
const stuckMs = 15_000;
const tags = ['internal'];

/** The two streams of snapshots: route tables to gateways, observations to the observer. */
export const streamRoutes: Routes = (app, context) => {
  const limits = { heartbeatMs, stuckMs, streamsMax, ...context.streams };
  const tables = new SnapshotStreams({ ...limits, latest: () => context.routes.text });
  const observations = new SnapshotStreams({ ...limits, latest: () => context.observations.text });
  context.routes.onTable(() => {
    tables.push();
  });
  context.observations.onChange(() => {
    observations.push();
  });
  app.addHook('preClose', (done) => {
    tables.close();
    observations.close();
    done();
  });
  context.metrics.gauge('muster_api_route_streams', 'Open route streams.', () => tables.size);
  context.metrics.gauge(
    'muster_api_observation_streams',
    'Open observation streams.',
    () => observations.size,
  );
  context.metrics.gauge(
    'muster_api_route_table_version',
    'Version of the newest route table.',
    () => context.routes.table.version,
  );

  app.get(
    '/internal/routes/stream',
    {
      schema: {
        tags,
        summary: 'Route tables, one JSON line each: now and on every change; a blank line now and then',
        querystring: z.object({ gateway: z.string().min(1).max(253) }),
        response: { 200: RouteTable, ...refusals },
      },
    },
    ({ query }, reply) => {
      if (tables.isFull) throw tooMany();
      const disconnect = context.gateways.connect(query.gateway, timeOf(context));
      reply.hijack();
      tables.open(reply.raw, disconnect);
    },
  );
  app.get(
    '/internal/observations/stream',
    {
      schema: {
        tags,
        summary: 'Observations, one JSON line each: now and on every change; a blank line now and then',
        response: { 200: Observation, ...refusals },
      },
    },
    (_request, reply) => {
      if (observations.isFull) throw tooMany();
      reply.hijack();
      observations.open(reply.raw);
    },
  );
};

function tooMany(): MusterError {
  return new MusterError('overloaded', `There are ${streamsMax} open streams already; no more are taken.`);
}
