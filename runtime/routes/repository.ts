import type { FastifyInstance } from 'fastify';
import { MusterError } from '../../domain/errors.ts';
import { asFields } from '../../domain/inference-protocol/body.ts';
import { modelNotReady } from '../../domain/inference-protocol/errors.ts';
import { parseJson } from '../../domain/inference-protocol/exact-json.ts';
import type { Deps } from '../deps.ts';
import { bodyOf } from './request.ts';

/** V2's model repository extension: which models are there, load and unload. */
export function repositoryRoutes(app: FastifyInstance, { repository }: Deps): void {
  app.post('/v2/repository/index', async (request) => {
    const body = bodyOf(request);
    // Triton's client sends no body at all, which means no filter.
    const filter = body.length === 0 ? {} : asFields(parseJson(body).value, 'The request');
    const entries = await repository.index();
    return filter['ready'] === true ? entries.filter((entry) => entry.state === 'READY') : entries;
  });
  app.post<{ Params: { model: string } }>('/v2/repository/models/:model/load', async (request) => {
    const { model } = request.params;
    try {
      await repository.load(model);
    } catch (error) {
      if (!(error instanceof MusterError) || error.code !== 'model_load_failed') throw error;
      throw modelNotReady(model, `Error type: ${error.code} error msg: ${error.message}`);
    }
    return { name: model, load: true };
  });
  app.post<{ Params: { model: string } }>('/v2/repository/models/:model/unload', async (request) => {
    const { model } = request.params;
    await repository.unload(model);
    return { name: model, unload: true };
  });
}
