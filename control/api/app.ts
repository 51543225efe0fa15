import swagger from '@fastify/swagger';
import type { FastifyBaseLogger, FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import Fastify, { LogController } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { jsonSchemaTransform } from 'fastify-type-provider-zod';
import type { z } from 'zod';
import { AccessState } from './access-state.ts';
import { BatchDesk } from './batches/batch-desk.ts';
import { fileBytes } from './batches/file-store.ts';
import type { ApiContext, ApiDeps } from './deps.ts';
import { Gateways } from './gateways.ts';
import { NodeReports } from './node-reports.ts';
import { Observations } from './observations.ts';
import { FieldsError, problemOf, problemType } from './problem.ts';
import { RoutePublisher } from './route-publisher.ts';
import { gatewayPolicyRoutes } from './routes/gateway-policies.ts';
import { inferenceServiceRoutes } from './routes/inference-services.ts';
import { internalRoutes } from './routes/internal.ts';
import { keyRoutes } from './routes/keys.ts';
import { logRoutes } from './routes/logs.ts';
import { musterRoutes } from './routes/muster.ts';
import { openaiRoutes } from './routes/openai.ts';
import { servingRuntimeRoutes } from './routes/serving-runtimes.ts';
import { streamRoutes } from './routes/streams.ts';
import { systemRoutes } from './routes/system.ts';
import { usageRoutes } from './routes/usage.ts';
import { securityCheck } from './security.ts';
import { sentences } from './zod-sentences.ts';

const bodyMaxBytes = 4 * 1024 * 1024;

/**
 * The control API without a listening socket: loads the state that is kept in memory, and registers all routes.
 * `close()` of what is returned ends streams and writes what is not on disk yet; the store stays open.
 */
export async function buildApi(deps: ApiDeps): Promise<FastifyInstance> {
  const context = await loadContext(deps);
  // Named by Fastify's own type: the instance would carry pino's otherwise, and fit no plugin.
  const loggerInstance: FastifyBaseLogger = deps.log;
  const app = Fastify({
    loggerInstance,
    // One line an answer is written below; Fastify's two would add the addresses of clients and nothing else.
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: bodyMaxBytes,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: 300 },
    // What no route is looked up for: a path that cannot be decoded, or a name beyond any that may be.
    frameworkErrors: sendProblem,
  });
  app.setValidatorCompiler(({ schema, httpPart }) => (input: unknown) => {
    const result = (schema as z.ZodType).safeParse(input);
    if (result.success) return { value: result.data };
    const fields = sentences(schema, input, result.error.issues);
    return { error: new FieldsError(fields, httpPart === 'body' ? 422 : 400) };
  });
  // Answers are documented by their schemas and tested against them; checking each again would only cost time.
  app.setSerializerCompiler(() => (answer: unknown) => JSON.stringify(answer));
  app.setErrorHandler(sendProblem);
  app.setNotFoundHandler((request, reply) => {
    void reply
      .code(404)
      .type(problemType)
      .send(
        JSON.stringify({
          type: 'urn:muster:problem:not_found',
          title: 'Not Found',
          status: 404,
          detail: `There is no ${request.method} ${request.url.split('?', 1)[0] ?? ''}; GET /openapi.json lists what there is.`,
          code: 'not_found',
        }),
      );
  });
  addHooks(app, context);
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Muster control API',
        version: deps.site.version,
        description: 'Deploys models by KServe manifests. Errors are RFC 9457 problem details.',
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
    transform: jsonSchemaTransform,
  });
  const typed = app.withTypeProvider<ZodTypeProvider>();
  for (const routes of [
    systemRoutes,
    inferenceServiceRoutes,
    servingRuntimeRoutes,
    logRoutes,
    musterRoutes,
    keyRoutes,
    gatewayPolicyRoutes,
    usageRoutes,
    internalRoutes,
    openaiRoutes,
    streamRoutes,
  ]) {
    routes(typed, context);
  }
  return app;
}

async function loadContext(deps: ApiDeps): Promise<ApiContext> {
  const { store, log, now } = deps;
  await store.records.sweep();
  const reports = await NodeReports.load(store.routing, log, now);
  const access = await AccessState.load(store.access, log, now);
  const routes = await RoutePublisher.load({ routing: store.routing, reports, access, log, now });
  const [services, runtimesVersion] = await Promise.all([store.services.list(), store.runtimes.version()]);
  const gateways = new Gateways(now, (await store.routing.assignments()).length > 0);
  const observations = new Observations(reports, routes, services, runtimesVersion);
  const bytes = fileBytes(deps.filesFolder);
  const desk = new BatchDesk({ store: store.batches, bytes, lifecycle: deps.lifecycle, now });
  return { ...deps, desk, fileBytes: bytes, reports, routes, observations, gateways, access };
}

function addHooks(app: FastifyInstance, context: ApiContext): void {
  const check = securityCheck(context.security);
  app.addHook('onRequest', (request, _reply, done) => {
    check(request);
    done();
  });
  app.addHook('onResponse', (request, reply, done) => {
    const route = request.routeOptions.url ?? 'unknown';
    const { method } = request;
    const status = String(reply.statusCode);
    context.metrics.requests.observe({ method, route, status }, reply.elapsedTime / 1000);
    // Reads and reports come several times a second; what was changed or refused is worth a line.
    const level = method === 'GET' || route.startsWith('/internal') ? 'debug' : 'info';
    request.log[level](
      { method, path: request.url, status: reply.statusCode, ms: Math.round(reply.elapsedTime) },
      'answered',
    );
    done();
  });
  // A connection whose answer ends while the server closes would keep it open for its whole keep-alive time.
  let sweeping: NodeJS.Timeout | undefined;
  app.addHook('preClose', (done) => {
    sweeping = setInterval(() => {
      app.server.closeIdleConnections();
    }, 50);
    done();
  });
  app.addHook('onClose', async () => {
    clearInterval(sweeping);
    context.observations.close();
    context.access.close();
    await context.routes.close();
    await context.reports.close();
  });
}

function sendProblem(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const problem = problemOf(error);
  if (problem.code === 'internal') request.log.error({ err: error, path: request.url }, problem.detail);
  else if (problem.status >= 500) request.log.warn({ code: problem.code, path: request.url }, problem.detail);
  if (problem.status === 401) void reply.header('www-authenticate', 'Bearer');
  if (problem.status === 503) void reply.header('retry-after', '2');
  void reply.code(problem.status).type(problemType).send(JSON.stringify(problem));
}
