import { z } from 'zod';
import type { Routes } from './route.ts';

const tags = ['system'];
const Health = z.object({ status: z.literal('ok') });

/** Health, metrics and the description of the API itself. */
export const systemRoutes: Routes = (app, context) => {
  for (const path of ['/healthz', '/internal/health']) {
    app.get(
      path,
      {
        schema: {
          tags,
          summary: 'Whether the API answers; needs no token',
          security: [],
          response: { 200: Health },
        },
      },
      () => ({ status: 'ok' as const }),
    );
  }
  app.get(
    '/metrics',
    {
      schema: {
        tags,
        summary: 'Prometheus metrics; needs no token',
        security: [],
        response: { 200: { description: 'Metrics', content: { 'text/plain': { schema: z.string() } } } },
      },
    },
    async (_request, reply) =>
      await reply
        .type(context.metrics.registry.contentType)
        .serializer((text: unknown) => String(text))
        .send(await context.metrics.registry.metrics()),
  );
  app.get(
    '/openapi.json',
    {
      schema: {
        tags,
        summary: 'This description (OpenAPI 3.1)',
        response: { 200: z.record(z.string(), z.unknown()) },
      },
    },
    () => app.swagger() as unknown as Record<string, unknown>,
  );
};
