import type { Readable } from 'node:stream';
import { request as fetchFrom } from 'undici';
import { z } from 'zod';
import { MusterError } from '../../../domain/errors.ts';
import { existing } from '../change-service.ts';
import type { ApiContext } from '../deps.ts';
import type { Routes } from './route.ts';
import { NamedInNamespace, refusals } from './route.ts';

const tailMax = 100_000;
const headersTimeoutMs = 5_000;

const Query = z.object({
  tail: z.coerce.number().int().min(0).max(tailMax).optional(),
  follow: z.enum(['true', 'false']).optional(),
  revision: z.string().max(253).optional(),
  replica: z.coerce.number().int().min(0).optional(),
});

/** Logs of a service's servers, as its node's agent hands them out. */
export const logRoutes: Routes = (app, context) => {
  app.get(
    '/apis/serving.kserve.io/v1beta1/namespaces/:ns/inferenceservices/:name/logs',
    {
      schema: {
        tags: ['inferenceservices'],
        summary: 'What the servers of a service printed; follow=true goes on until the caller leaves',
        params: NamedInNamespace,
        querystring: Query,
        response: { 200: z.string().describe('text/plain'), ...refusals },
      },
    },
    async ({ params, query, raw }, reply) => {
      await existing(context, params.ns, params.name);
      const url = new URL(
        `/logs/${encodeURIComponent(params.ns)}/${encodeURIComponent(params.name)}`,
        agentOf(context, params.ns, params.name),
      );
      for (const [key, value] of Object.entries(query)) url.searchParams.set(key, String(value));
      const left = new AbortController();
      raw.socket.once('close', () => {
        left.abort();
      });
      const answer = await ask(url, context.security.internalToken, left.signal);
      return await reply
        .type('text/plain; charset=utf-8')
        .header('cache-control', 'no-store')
        .serializer((body: unknown) => String(body))
        .send(answer as unknown as string);
    },
  );
};

/** The agent that has, or last had, the service's servers: the one heard of last, if several. */
function agentOf(context: ApiContext, namespace: string, name: string): string {
  const heard = context.reports.all().sort((a, b) => b.heardAt - a.heardAt);
  const owner =
    heard.find(({ report }) =>
      report.replicas.some((replica) => replica.namespace === namespace && replica.name === name),
    ) ?? heard[0];
  if (owner === undefined) {
    throw new MusterError('not_found', 'No node was heard of yet, so there are no logs.');
  }
  return owner.report.agentAddress;
}

async function ask(url: URL, token: string, signal: AbortSignal): Promise<Readable> {
  try {
    const answer = await fetchFrom(url, {
      headers: { authorization: `Bearer ${token}` },
      headersTimeout: headersTimeoutMs,
      // A followed log may be silent for long.
      bodyTimeout: 0,
      signal,
    });
    if (answer.statusCode === 200) return answer.body;
    await answer.body.dump();
    if (answer.statusCode === 404) {
      throw new MusterError('not_found', 'The node has no logs of this service (yet).');
    }
    throw new MusterError('internal', `The node's agent answered with status ${answer.statusCode}.`);
  } catch (cause) {
    if (cause instanceof MusterError) throw cause;
    throw new MusterError(
      'model_not_ready',
      `The node's agent at ${url.host} does not answer, so its logs cannot be read now.`,
      { cause },
    );
  }
}
