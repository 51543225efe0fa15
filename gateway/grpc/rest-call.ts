import { MusterError } from '../../domain/errors.ts';
import { valueOf } from '../flat-headers.ts';
import { allHeaders } from '../upstream/upstream.ts';
import type { UpstreamRequest } from '../upstream/upstream.ts';
import type { Fields } from './schema.ts';
import { numberOf } from './tensors.ts';
import { inferRequest, restResponse } from './translate.ts';

/** Which call a V2 REST request is, and how its answer is said in REST's form. */
export interface RestCall {
  readonly method: string;
  readonly fields: Fields;
  readonly answer: (response: Fields) => RestAnswer;
}

export interface RestAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

const modelPath = /^\/v2\/models\/([^/]+)(?:\/versions\/([^/]+))?(?:\/(infer|ready))?$/;
const repositoryPath = /^\/v2\/repository\/models\/([^/]+)\/(load|unload)$/;

/** @throws MusterError `invalid_input` for a body that is no V2 request, `not_implemented` for what gRPC has not */
export function planCall(request: UpstreamRequest): RestCall {
  const { path: whole, body } = request;
  const path = whole.split('?')[0] ?? '';
  const [, model = '', version = '', verb] = modelPath.exec(path) ?? [];
  if (model !== '') {
    const name = decodeURIComponent(model);
    if (verb === 'infer') return inferCall(name, decodeURIComponent(version), body, allHeaders(request));
    const fields = { name, version: decodeURIComponent(version) };
    if (verb === 'ready') {
      return {
        method: 'ModelReady',
        fields,
        answer: ({ ready }) => readiness(ready === true, { name, ready }),
      };
    }
    return { method: 'ModelMetadata', fields, answer: (response) => json(metadataOf(response)) };
  }
  const [, stored = '', change = ''] = repositoryPath.exec(path) ?? [];
  if (stored !== '') {
    const name = decodeURIComponent(stored);
    const method = change === 'load' ? 'RepositoryModelLoad' : 'RepositoryModelUnload';
    return { method, fields: { first: name }, answer: () => json({ name, [change]: true }) };
  }
  if (path === '/v2/health/ready')
    return { method: 'ServerReady', fields: {}, answer: ({ ready }) => readiness(ready === true, { ready }) };
  if (path === '/v2/health/live')
    return { method: 'ServerLive', fields: {}, answer: ({ live }) => json({ live }) };
  throw new MusterError('not_implemented', `A server that speaks gRPC has no ${path}.`);
}

function inferCall(
  model: string,
  version: string,
  body: Uint8Array | null,
  headers: readonly string[],
): RestCall {
  const wire = {
    body: body ?? new Uint8Array(),
    headerLength: valueOf(headers, 'inference-header-content-length'),
    contentType: valueOf(headers, 'content-type'),
  };
  const { fields, request } = inferRequest(wire, model, version);
  return {
    method: 'ModelInfer',
    fields,
    answer: (response) => {
      const encoded = restResponse(response, request, model);
      const length = encoded.headerLength;
      return {
        status: 200,
        headers: {
          'content-type': encoded.contentType,
          ...(length === undefined ? {} : { 'inference-header-content-length': String(length) }),
        },
        body: encoded.body,
      };
    },
  };
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
