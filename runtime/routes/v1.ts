import type { FastifyInstance } from 'fastify';
import { MusterError } from '../../domain/errors.ts';
import { decodeInstances, encodePredictions } from '../../domain/inference-protocol/instances.ts';
import { checkInputs } from '../../domain/inference-protocol/tensor-spec.ts';
import type { Deps } from '../deps.ts';
import { bodyOf, callerSignal } from './request.ts';

/** KServe's V1 protocol. Its two model paths are OpenAI's too, so they answer the union of both. */
export function v1Routes(app: FastifyInstance, deps: Deps): void {
  const { repository, admission, metrics } = deps;
  const card = (name: string) => ({
    id: name,
    object: 'model',
    created: deps.startedAtSeconds,
    owned_by: 'muster',
    name,
    ready: true,
  });
  const list = () => {
    const models = repository.names();
    return { object: 'list', data: models.map(card), models };
  };
  const one = (model: string) => {
    repository.get(model);
    return card(model);
  };
  for (const prefix of ['/v1', '/openai/v1']) {
    app.get(`${prefix}/models`, list);
    app.get<{ Params: { model: string } }>(`${prefix}/models/:model`, (request) => one(request.params.model));
  }

  app.post<{ Params: { target: string } }>('/v1/models/:target', async (request, reply) => {
    const { target } = request.params;
    const colon = target.lastIndexOf(':');
    const [model, verb] = [target.slice(0, colon), target.slice(colon + 1)];
    if (colon < 1 || (verb !== 'predict' && verb !== 'explain'))
      return reply.code(404).send({ detail: 'Not Found' });
    const session = repository.get(model);
    reply.raw.once('finish', () => {
      metrics.answered(model, 'v1', reply.statusCode);
    });
    if (verb === 'explain') throw new MusterError('not_implemented', `Model ${model} has no explainer.`);
    const body = await admission.run(async () => {
      const inputs = metrics.time('preprocess', model, () => {
        const decoded = decodeInstances(bodyOf(request), session.inputs, model);
        checkInputs(session.inputs, decoded, model);
        return decoded;
      });
      const [first] = session.outputs;
      const outputs = await metrics.time('predict', model, () =>
        session.run(inputs, first === undefined ? [] : [first.name], callerSignal(reply)),
      );
      return metrics.time('postprocess', model, () => outputs.map(encodePredictions).join(''));
    });
    return reply.type('application/json').send(body);
  });
}
