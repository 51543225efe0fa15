import { randomUUID } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { serverNotReady, versioningNotSupported } from '../../domain/inference-protocol/errors.ts';
import { answerForm, decodeRequest } from '../../domain/inference-protocol/request.ts';
import { encodeResponse } from '../../domain/inference-protocol/response.ts';
import { checkInputs } from '../../domain/inference-protocol/tensor-spec.ts';
import type { Deps } from '../deps.ts';
import { bodyOf, callerSignal, header } from './request.ts';

interface ModelPath {
  Params: { model: string; version?: string };
}

/** The Open Inference Protocol (V2) with the binary tensor extension. */
export function v2Routes(app: FastifyInstance, deps: Deps): void {
  const { repository } = deps;
  app.get('/v2', () => ({
    name: 'muster-onnx',
    version: deps.version,
    extensions: ['model_repository', 'model_repository_extension', 'binary_tensor_data'],
  }));
  app.get('/v2/health/live', () => ({ live: true }));
  app.get('/v2/health/ready', () => {
    if (!deps.isReady()) throw serverNotReady();
    return { ready: true };
  });
  app.get('/v2/models', () => ({ models: repository.names() }));

  for (const path of ['/v2/models/:model', '/v2/models/:model/versions/:version']) {
    app.get<ModelPath>(path, (request) => {
      const { model } = asked(request.params);
      const { inputs, outputs } = repository.get(model);
      return { name: model, versions: [], platform: 'onnxruntime_onnx', inputs, outputs };
    });
    app.get<ModelPath>(`${path}/ready`, (request) => {
      const { model } = asked(request.params);
      repository.get(model);
      return { name: model, ready: true };
    });
    app.post<ModelPath>(`${path}/infer`, async (request, reply) => {
      const { model } = asked(request.params);
      return infer(deps, model, request, reply);
    });
  }
}

function asked(params: ModelPath['Params']): { model: string } {
  if (params.version !== undefined) throw versioningNotSupported();
  return params;
}

async function infer(
  { repository, admission, metrics }: Deps,
  model: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const session = repository.get(model);
  reply.raw.once('finish', () => {
    metrics.answered(model, 'v2', reply.statusCode);
  });
  const answer = await admission.run(async () => {
    const available = session.outputs.map(({ name }) => name);
    const [decoded, wanted] = metrics.time('preprocess', model, () => {
      const wire = {
        body: bodyOf(request),
        headerLength: header(request, 'inference-header-content-length'),
        contentType: request.headers['content-type'],
      };
      const given = decodeRequest(wire, model);
      checkInputs(session.inputs, given.inputs, model);
      return [given, answerForm(given, available, model).map(({ name }) => name)] as const;
    });
    const outputs = await metrics.time('predict', model, () =>
      session.run(decoded.inputs, wanted, callerSignal(reply)),
    );
    return metrics.time('postprocess', model, () =>
      encodeResponse(
        {
          modelName: model,
          modelVersion: undefined,
          id: decoded.id ?? randomUUID(),
          parameters: {},
          outputs,
        },
        decoded,
      ),
    );
  });
  if (answer.headerLength !== undefined) reply.header('inference-header-content-length', answer.headerLength);
  return reply.type(answer.contentType).send(answer.body);
}
