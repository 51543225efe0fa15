import { MusterError } from '../../domain/errors.ts';
import type { InferenceRequest } from '../../domain/inference-protocol/request.ts';
import { encodeResponse } from '../../domain/inference-protocol/response.ts';
import type { InferenceResponse } from '../../domain/inference-protocol/response.ts';
import { valueOf } from '../flat-headers.ts';
import { allHeaders } from '../upstream/upstream.ts';
import type { UpstreamRequest } from '../upstream/upstream.ts';
import type { Fields } from './schema.ts';
import { numberOf } from './tensors.ts';
import { inferRequest, readInferResponse } from './translate.ts';

/**
 * Which call a V2 REST request is, and how its answer is said in REST's form. What cannot be said in the other form is
 * told as a server would tell it: of a request, and of the form that it asks the answer in, as 4xx, which is no
 * server's fault; of a server's answer as 502.
 */
export interface RestCall {
  readonly kind: 'call';
  readonly method: string;
  readonly fields: Fields;
  readonly answer: (response: Fields) => RestAnswer;
}

export interface RestAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** No server is asked. */
export interface Answered {
  readonly kind: 'answer';
  readonly answer: RestAnswer;
}

const modelPath = /^\/v2\/models\/([^/]+)(?:\/versions\/([^/]+))?(?:\/(infer|ready))?$/;
const repositoryPath = /^\/v2\/repository\/models\/([^/]+)\/(load|unload)$/;

export function planCall(request: UpstreamRequest): RestCall | Answered {
  return attempt<RestCall | Answered>(
    () => callFor(request),
    (error) => ({
      kind: 'answer',
      answer: errorAnswer(error.code === 'not_implemented' ? 501 : 400, error.message),
    }),
  );
}

export function errorAnswer(httpStatus: number, error: string): RestAnswer {
  return { ...json({ error }), status: httpStatus };
}

/** @throws MusterError `invalid_input` for a body that is no V2 request, `not_implemented` for what gRPC has not */
function callFor(request: UpstreamRequest): RestCall | Answered {
  const { path: whole, body } = request;
  const path = whole.split('?')[0] ?? '';
  const [, model = '', version = '', verb] = modelPath.exec(path) ?? [];
  if (model !== '') {
    const name = decodeURIComponent(model);
    if (verb === 'infer') return inferCall(name, decodeURIComponent(version), body, allHeaders(request));
    const fields = { name, version: decodeURIComponent(version) };
    if (verb === 'ready') {
      return {
        kind: 'call',
        method: 'ModelReady',
        fields,
        answer: ({ ready }) => readiness(ready === true, { name, ready }),
      };
    }
    return {
      kind: 'call',
      method: 'ModelMetadata',
      fields,
      answer: (response) => json(metadataOf(response)),
    };
  }
  const [, stored = '', change = ''] = repositoryPath.exec(path) ?? [];
  if (stored !== '') {
    const name = decodeURIComponent(stored);
    const method = change === 'load' ? 'RepositoryModelLoad' : 'RepositoryModelUnload';
    return { kind: 'call', method, fields: { first: name }, answer: () => json({ name, [change]: true }) };
  }
  if (path === '/v2/health/ready')
    return {
      kind: 'call',
      method: 'ServerReady',
      fields: {},
      answer: ({ ready }) => readiness(ready === true, { ready }),
    };
  if (path === '/v2/health/live')
    return { kind: 'call', method: 'ServerLive', fields: {}, answer: ({ live }) => json({ live }) };
  throw new MusterError('not_implemented', `A server that speaks gRPC has no ${path}.`);
}

function inferCall(
  model: string,
  version: string,
  body: Uint8Array | null,
  headers: readonly string[],
): RestCall | Answered {
  const encoding = valueOf(headers, 'content-encoding');
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    const words = `Send the body without content-encoding: '${encoding}' is not read for servers that speak gRPC.`;
    return { kind: 'answer', answer: errorAnswer(415, words) };
  }
  const wire = {
    body: body ?? new Uint8Array(),
    headerLength: valueOf(headers, 'inference-header-content-length'),
    contentType: valueOf(headers, 'content-type'),
  };
  const { fields, request } = inferRequest(wire, model, version);
  return {
    kind: 'call',
    method: 'ModelInfer',
    fields,
    answer: (response) =>
      attempt(
        () => inferAnswer(readInferResponse(response, request, model), request),
        ({ message }) => errorAnswer(502, `The server's answer cannot be read: ${message}`),
      ),
  };
}

/** The client chose the form, and may choose another: where it cannot say the answer, no server is to blame. */
function inferAnswer(response: InferenceResponse, request: InferenceRequest): RestAnswer {
  return attempt(
    () => {
      const { body, contentType, headerLength } = encodeResponse(response, request);
      const length =
        headerLength === undefined ? {} : { 'inference-header-content-length': String(headerLength) };
      return { status: 200, headers: { 'content-type': contentType, ...length }, body };
    },
    ({ message }) => errorAnswer(400, message),
  );
}

function attempt<T>(act: () => T, refuse: (error: MusterError) => T): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof MusterError) return refuse(error);
    throw error;
  }
}

function metadataOf({ name, versions, platform, inputs, outputs }: Fields): Fields {
  const tensors = (list: unknown) =>
    ((list ?? []) as readonly Fields[]).map((tensor) => ({
      name: tensor['name'],
      datatype: tensor['datatype'],
      shape: ((tensor['shape'] ?? []) as readonly unknown[]).map(numberOf),
    }));
  return { name, versions: versions ?? [], platform, inputs: tensors(inputs), outputs: tensors(outputs) };
}

/** As KServe's REST servers say it. */
function readiness(isReady: boolean, body: Fields): RestAnswer {
  return { ...json(body), status: isReady ? 200 : 503 };
}

function json(body: Fields): RestAnswer {
  return {
    status: 200,
    headers: { 'content-type': 'application/json' },
    body: Buffer.from(JSON.stringify(body)),
  };
}
