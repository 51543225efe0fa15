import Fastify, { LogController } from 'fastify';
import type { FastifyInstance } from 'fastify';
import type { Deps } from './deps.ts';
import { answerKServeError } from './errors.ts';
import { openaiRoutes } from './routes/openai.ts';
import { repositoryRoutes } from './routes/repository.ts';
import { v1Routes } from './routes/v1.ts';
import { v2Routes } from './routes/v2.ts';

/** The server without its socket: `main.ts` listens, tests inject. */
export function buildApp(deps: Deps): FastifyInstance {
  const app = Fastify({
    loggerInstance: deps.logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: deps.maxBodyBytes,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: 512 },
  });
  // Bodies stay bytes: the protocols' own parsers keep 64-bit integers exact, and clients leave the type out.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => {
    done(null, body);
  });
  app.addHook('onSend', async (_request, reply) => {
    if (deps.isDraining()) reply.header('connection', 'close');
  });
  app.setErrorHandler((error, request, reply) => answerKServeError(error, request, reply));
  app.setNotFoundHandler((_request, reply) => reply.code(404).send({ detail: 'Not Found' }));

  app.get('/', () => ({ status: 'alive' }));
  app.get('/metrics', async (_request, reply) =>
    reply.type(deps.metrics.registry.contentType).send(await deps.metrics.registry.metrics()),
  );
  v1Routes(app, deps);
  v2Routes(app, deps);
  repositoryRoutes(app, deps);
  app.register((scope) => openaiRoutes(scope, deps), { prefix: '/v1' });
  app.register((scope) => openaiRoutes(scope, deps), { prefix: '/openai/v1' });
  return app;
}
