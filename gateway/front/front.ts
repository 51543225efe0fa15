import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import Fastify from 'fastify';
import type { FastifyError, FastifyHttpOptions, FastifyInstance, RawServerDefault } from 'fastify';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { Refusal } from '../errors.ts';
import type { GatewayLimits } from '../limits.ts';
import { loopDelay } from '../observe/process-metrics.ts';
import { TurnWrites } from '../turn-writes.ts';
import { BodyBudget } from './body-budget.ts';
import type { Exchange } from './exchange.ts';
import { registerFrontMetrics } from './front-metrics.ts';
import { LeanFront } from './lean/lean-front.ts';
import { NodeExchange } from './node-exchange.ts';
import { Pipelines, waitingMax } from './pipelines.ts';
import { readNodeBody } from './read-node-body.ts';
import { TlsFiles } from './tls-files.ts';
import type { TlsOptions } from './tls-files.ts';

/**
 * The way in: plain requests by our own reader, all others by node:http and Fastify, and both become exchanges.
 * Fastify reads the request and nothing more: routes are the data path's own table, bodies stay bytes.
 */
export interface FrontDeps {
  readonly limits: GatewayLimits;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly isDraining: () => boolean;
  readonly handle: (exchange: Exchange) => void;
  /** A request that is refused before it is whole. */
  readonly refuse: (exchange: Exchange, refusal: Refusal) => void;
  /** Before a body is read: whether nobody known asks. Absent: everybody is known. */
  readonly isStranger?: (exchange: Exchange) => boolean;
  readonly tls?: TlsOptions;
  /** False: node's parser reads every request, in case of trouble with ours. */
  readonly isLean?: boolean;
  /** Shared with who asks servers; its own when absent. */
  readonly writes?: TurnWrites;
  /** For tests: bytes of clients are overwritten once they were read (lean/socket-reads.ts). */
  readonly isScribbling?: boolean;
}

export function buildFront(deps: FrontDeps): FastifyInstance {
  const { limits, logger, isDraining } = deps;
  const bodies = new BodyBudget(limits.bodiesBytesMax, limits.strangersBytesMax);
  const isStranger = deps.isStranger ?? (() => false);
  const tls = deps.tls === undefined ? null : new TlsFiles(deps.tls, logger);
  const onFault = (error: unknown): void => {
    logger.error({ err: error }, 'a request failed in the front of the gateway');
  };
  const handle = (exchange: Exchange): void => {
    try {
      deps.handle(exchange);
    } catch (error) {
      onFault(error);
      exchange.cut();
    }
  };
  const lean = new LeanFront({
    limits,
    bodies,
    isDraining,
    isLean: deps.isLean ?? true,
    handle,
    refuse: deps.refuse,
    isStranger,
    onFault,
    tls,
    isScribbling: deps.isScribbling === true,
    writes: deps.writes ?? new TurnWrites(),
    onTick: loopDelay(deps.registry),
  });
  const pipelines = new Pipelines();
  registerFrontMetrics(deps.registry, lean, bodies, pipelines, tls);
  const exchange = (request: IncomingMessage, response: ServerResponse, body: Buffer | null) =>
    new NodeExchange(request, response, body, { isDraining, stallMs: limits.clientStallMs });
  const serve = (request: IncomingMessage, response: ServerResponse): void => {
    const begin = (): void => {
      serveNow(request, response);
    };
    pipelines.enter(request, response, begin, () => {
      response.shouldKeepAlive = false;
      deps.refuse(exchange(request, response, null), tooManyAhead);
    });
  };
  const serveNow = (request: IncomingMessage, response: ServerResponse): void => {
    if (hasSeveralHosts(request)) {
      response.shouldKeepAlive = false;
      deps.refuse(exchange(request, response, null), severalHosts);
      return;
    }
    const isStrange = isStranger(exchange(request, response, null));
    const room = {
      take: (bytes: number) => bodies.take(bytes, isStrange),
      give: (bytes: number) => {
        bodies.give(bytes, isStrange);
      },
    };
    readNodeBody(request, limits, room, (read) => {
      const made = exchange(request, response, read.kind === 'read' ? read.body : null);
      if (read.kind === 'refused') {
        deps.refuse(made, read.refusal);
        return;
      }
      made.onClose(() => {
        room.give(read.held);
      });
      handle(made);
    });
  };
  const options: FastifyHttpOptions<RawServerDefault> = {
    logger: false,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    // A path that does not decode is the data path's to refuse, in the protocol's own body.
    frameworkErrors: (_error, request, reply) => {
      reply.hijack();
      serve(request.raw, reply.raw);
    },
    serverFactory: (handler) => lean.createServer(handler),
  };
  const app = Fastify(options);
  app.setErrorHandler((error: FastifyError, request, reply) => {
    reply.hijack();
    const refuse = (): void => {
      deps.refuse(exchange(request.raw, reply.raw, null), frontRefusal(error));
    };
    pipelines.enter(request.raw, reply.raw, refuse, refuse);
  });
  deferErrors(app.server, pipelines);
  app.removeAllContentTypeParsers();
  // Not read by Fastify: the body is read once its request is known to be one of ours.
  app.addContentTypeParser('*', (_request, _payload, done) => {
    done(null);
  });
  app.all('/*', (request, reply) => {
    reply.hijack();
    serve(request.raw, reply.raw);
  });
  app.setNotFoundHandler((request, reply) => {
    reply.hijack(); // methods that Fastify does not route
    serve(request.raw, reply.raw);
  });
  return app;
}

/** Bytes that are no request, behind some that are: those are answered first. */
function deferErrors(server: Server, pipelines: Pipelines): void {
  const listeners = server.listeners('clientError');
  server.removeAllListeners('clientError');
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    pipelines.fail(socket, error.code === 'ERR_HTTP_REQUEST_TIMEOUT', () => {
      for (const listener of listeners) listener.call(server, error, socket);
    });
  });
}

/** Two hosts may be two services, to two readers (RFC 9112 section 3.2: such a request is refused). */
function hasSeveralHosts({ rawHeaders }: IncomingMessage): boolean {
  let hosts = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    if (rawHeaders[at]?.toLowerCase() === 'host') hosts += 1;
  }
  return hosts > 1;
}

const severalHosts: Refusal = {
  code: 'invalid_request',
  message: 'The request has more than one host header: send one.',
};

const tooManyAhead: Refusal = {
  code: 'invalid_request',
  message: `More than ${waitingMax} requests wait on this connection: read their answers before you send more.`,
};

function frontRefusal(error: FastifyError): Refusal {
  if (error.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE')
    return { code: 'invalid_request', message: 'The content-type is malformed.' };
  return {
    code: error.statusCode === 500 ? 'internal_error' : 'invalid_request',
    message: error.message,
  };
}
