import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import Fastify from 'fastify';
import type {
  FastifyError,
  FastifyHttpOptions,
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
  FastifyServerFactory,
  RawServerDefault,
} from 'fastify';
import type { Logger } from 'pino';
import { Admission } from './admission/admission.ts';
import { DataPath } from './data-path.ts';
import type { Refusal, RefusalCode } from './errors.ts';
import { NodeExchange } from './front/node-exchange.ts';
import type { GatewayLimits } from './limits.ts';
import { GatewayMetrics } from './observe/metrics.ts';
import { StoredResponses, pinnedPicker } from './openai/stored-responses.ts';
import { leastLoadedPicker } from './pick/picker.ts';
import { registerRedisMetrics } from './redis/redis-metrics.ts';
import type { SharedRedis } from './redis/shared-redis.ts';
import { TableStore } from './route-table/table-store.ts';
import type { Step } from './step.ts';
import { Endpoints } from './upstream/endpoints.ts';
import { undiciUpstreams } from './upstream/undici-upstream.ts';
import type { Connect } from './upstream/upstream.ts';

/** Everything that a gateway is, without a port and without a control API: tests build it and feed it a table. */
export interface Gateway {
  readonly app: FastifyInstance;
  readonly store: TableStore;
  readonly endpoints: Endpoints;
  readonly metrics: GatewayMetrics;
  /** From now on each response ends its connection, and readiness says no. */
  drain(): void;
}

export interface GatewayDeps {
  readonly limits: GatewayLimits;
  readonly logger: Logger;
  /** Muster's version, for GET /v2. */
  readonly version: string;
  readonly connect?: Connect;
  /** Null or absent: this gateway stands alone. */
  readonly redis?: SharedRedis | null;
  /** A leaner HTTP front in place of node:http. */
  readonly serverFactory?: FastifyServerFactory;
  readonly chance?: () => number;
}

export function buildGateway(deps: GatewayDeps): Gateway {
  const { limits, logger } = deps;
  let isDraining = false;
  const endpoints = new Endpoints(deps.connect ?? undiciUpstreams({ connectMs: limits.connectMs }));
  const store: TableStore = new TableStore({ endpoints, logger, metrics: () => metrics, now: Date.now });
  const metrics = new GatewayMetrics((key) => store.current()?.byKey.has(key) === true, Date.now);
  const redis = deps.redis ?? null;
  if (redis !== null) registerRedisMetrics(metrics.registry, redis);
  const chance = deps.chance ?? Math.random;
  // The one place that says which steps there are, and their order.
  const admission = new Admission({
    registry: metrics.registry,
    routes: () => store.current(),
    nowMs: () => performance.now(),
  });
  store.onApplied((_table, policy) => {
    admission.apply(policy.qos);
  });
  const early: Step[] = []; // who asks
  const stored = new StoredResponses();
  const steps: Step[] = [stored, admission]; // may it; payload log; budget; cache; batch; wake; queue
  const dataPath = new DataPath({
    limits,
    store,
    endpoints,
    metrics,
    logger,
    version: deps.version,
    isDraining: () => isDraining,
    nowMs: () => performance.now(),
    chance,
    picker: pinnedPicker(leastLoadedPicker(chance)),
    stored,
    early,
    steps,
    makeRequestId: requestIds(),
  });
  const exchange = (request: IncomingMessage, response: ServerResponse, body: unknown) =>
    new NodeExchange(request, response, Buffer.isBuffer(body) ? body : null, () => isDraining);

  const app = buildFront(deps, (error, request, reply) => {
    reply.hijack();
    dataPath.refuseEarly(exchange(request.raw, reply.raw, null), frontRefusal(error, limits));
  });
  const handle = (request: FastifyRequest, reply: FastifyReply): void => {
    reply.hijack();
    dataPath.handle(exchange(request.raw, reply.raw, request.body));
  };
  app.all('/*', handle);
  app.setNotFoundHandler(handle); // methods that Fastify does not route
  return {
    app,
    store,
    endpoints,
    metrics,
    drain: () => {
      isDraining = true;
    },
  };
}

/** Fastify reads the request and nothing more: routes are the data path's own table, bodies stay bytes. */
function buildFront(
  { limits, serverFactory }: GatewayDeps,
  refuse: (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => void,
): FastifyInstance {
  const options: FastifyHttpOptions<RawServerDefault> = {
    logger: false,
    bodyLimit: limits.bodyBytesMax,
    requestTimeout: limits.requestReadMs,
    keepAliveTimeout: 75_000,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    http: { maxHeaderSize: limits.headerBytesMax, noDelay: true },
    // A path that does not decode is the data path's to refuse, in the protocol's own body.
    frameworkErrors: (error, request: FastifyRequest, reply: FastifyReply) => {
      refuse(error, request, reply);
    },
    ...(serverFactory === undefined ? {} : { serverFactory }),
  };
  const app = Fastify(options);
  app.setErrorHandler(refuse);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => {
    done(null, body);
  });
  return app;
}

function frontRefusal(error: FastifyError, limits: GatewayLimits): Refusal {
  const known: Record<string, [RefusalCode, string]> = {
    FST_ERR_CTP_BODY_TOO_LARGE: [
      'request_too_large',
      `The body is larger than ${limits.bodyBytesMax} bytes.`,
    ],
    FST_ERR_CTP_INVALID_MEDIA_TYPE: ['invalid_request', 'The content-type is malformed.'],
    FST_ERR_CTP_INVALID_CONTENT_LENGTH: [
      'invalid_request',
      'The body is not as long as content-length says.',
    ],
    FST_ERR_BAD_URL: ['invalid_request', 'The path is malformed.'],
  };
  const [code, message] = known[error.code] ?? [
    error.statusCode === 500 ? 'internal_error' : 'invalid_request',
    '',
  ];
  return { code, message: message === '' ? error.message : message };
}

/** Unlike in all processes, in order within one, and cheap: a random prefix and a counter. */
function requestIds(): () => string {
  const prefix = randomBytes(6).toString('hex');
  let count = 0;
  return () => `${prefix}-${(count += 1).toString(36)}`;
}
