/**
 * What a request asks for, from its method and path alone. One table for every front: Fastify hands all requests
 * to one handler, so that a leaner HTTP front can later serve the same table. Model names may hold slashes
 * (`namespace/name`, `org/model`) or be percent-encoded, which a router with `:name` segments would not allow.
 */
export type OperationKind =
  | 'openai-call' // a JSON body names the model; goes to the server
  | 'openai-form' // so does a field of a multipart form: audio and pictures
  | 'openai-control' // files and batches: the control API's
  | 'cache-purge' // a JSON body names the model whose cached answers are forgotten
  | 'openai-stored' // a stored response by its id: the server that made it knows it
  | 'anthropic-call' // messages, served by translation to chat completions
  | 'v1-call' // predict
  | 'v1-explain'
  | 'v2-call' // infer, generate
  | 'v2-read' // metadata, config, stats of one model: the server knows them
  | 'v2-ready'
  | 'model-list' // OpenAI's and V1's at once
  | 'model-get'
  | 'v2-server'
  | 'v2-live'
  | 'v2-server-ready'
  | 'v2-list'
  | 'v2-index'
  | 'v2-load'
  | 'v2-unload'
  | 'alive'
  | 'metrics'
  | 'openapi'
  | 'unknown-route'
  | 'wrong-method'
  | 'bad-path'; // percent-encoding that decodes to nothing

/** Whose error body, and which protocol the service must speak. */
export type ApiProtocol = 'openai' | 'v1' | 'v2' | 'anthropic';

/** OpenAI's own paths, and those that vLLM, Cohere and Jina made usual; the server gets the path as it came. */
const jsonPaths: readonly string[] = [
  '/v1/chat/completions',
  '/v1/completions',
  '/v1/embeddings',
  '/v1/responses',
  '/v1/rerank',
  '/v2/rerank',
  '/rerank',
  '/v1/score',
  '/score',
  '/v1/classify',
  '/classify',
  '/v1/pooling',
  '/pooling',
  '/v1/moderations',
  '/v1/audio/speech',
  '/v1/images/generations',
  '/tokenize',
  '/detokenize',
];
const formPaths: readonly string[] = [
  '/v1/audio/transcriptions',
  '/v1/audio/translations',
  '/v1/images/edits',
  '/v1/images/variations',
];

export interface ServiceName {
  readonly namespace: string;
  readonly name: string;
}

export interface Operation {
  readonly kind: OperationKind;
  readonly protocol: ApiProtocol;
  /** Model named by the path; null when the body names it, or nothing does. */
  readonly model: string | null;
  /** Path for the server: before and after the place of the model's name; the whole path is `head` without one. */
  readonly head: string;
  readonly tail: string;
  /** The service that the path prefix /serving/{namespace}/{name} names. */
  readonly prefix: ServiceName | null;
  /** For the Allow header of a wrong method. */
  readonly allow: string;
}

/** @param path the request's path without its query */
export function parseOperation(method: string, path: string): Operation {
  const hot = exact.get(path);
  if (hot !== undefined) return byMethod(hot, method);
  if (path.startsWith('/serving/')) return parsePrefixed(method, path);
  return parseBare(method, path);
}

function operation(kind: OperationKind, protocol: ApiProtocol, more: Partial<Operation> = {}): Operation {
  return { kind, protocol, model: null, head: '', tail: '', prefix: null, allow: '', ...more };
}

type Methods = Readonly<Record<string, Operation>>;

const reading = (found: Operation): Methods => ({ GET: found, HEAD: found });
const posting = (kind: OperationKind, protocol: ApiProtocol, head: string): Methods => ({
  POST: operation(kind, protocol, { head }),
});

const exact: ReadonlyMap<string, Methods> = new Map<string, Methods>([
  ...jsonPaths.map((path): [string, Methods] => [path, posting('openai-call', 'openai', path)]),
  ...formPaths.map((path): [string, Methods] => [path, posting('openai-form', 'openai', path)]),
  ...[...jsonPaths, ...formPaths]
    .filter((path) => path.startsWith('/v1/'))
    .map((path): [string, Methods] => [
      `/openai${path}`,
      posting(formPaths.includes(path) ? 'openai-form' : 'openai-call', 'openai', path),
    ]),
  ['/v1/messages', posting('anthropic-call', 'anthropic', '/v1/chat/completions')],
  ['/v1/messages/count_tokens', posting('openai-call', 'anthropic', '/v1/messages/count_tokens')],
  ['/v1/cache/purge', posting('cache-purge', 'openai', '/v1/cache/purge')],
  ['/v1/models', reading(operation('model-list', 'openai'))],
  ['/openai/v1/models', reading(operation('model-list', 'openai'))],
  ['/v2', reading(operation('v2-server', 'v2'))],
  ['/v2/health/live', reading(operation('v2-live', 'v2'))],
  ['/v2/health/ready', reading(operation('v2-server-ready', 'v2'))],
  ['/v2/models', reading(operation('v2-list', 'v2'))],
  ['/v2/repository/index', { POST: operation('v2-index', 'v2') }],
  ['/', reading(operation('alive', 'v1'))],
  ['/metrics', reading(operation('metrics', 'v1'))],
  ['/openapi.json', reading(operation('openapi', 'v1'))],
]);

function byMethod(methods: Methods, method: string): Operation {
  // Own properties only: a method such as "constructor" must not find Object's.
  const found = Object.hasOwn(methods, method) ? methods[method] : undefined;
  if (found !== undefined) return found;
  const protocol = Object.values(methods)[0]?.protocol ?? 'v1';
  return operation('wrong-method', protocol, { allow: Object.keys(methods).join(', ') });
}

function parsePrefixed(method: string, path: string): Operation {
  const parts = /^\/serving\/([^/]+)\/([^/]+)(\/.*)?$/.exec(path);
  const namespace = decode(parts?.[1]);
  const name = decode(parts?.[2]);
  if (namespace === null || name === null) return operation('unknown-route', 'v1');
  const rest = (parts?.[3] ?? '/').replace(/(.)\/$/, '$1');
  const methods = exact.get(rest);
  const found = methods === undefined ? parseBare(method, rest) : byMethod(methods, method);
  if (found.kind === 'metrics') return operation('unknown-route', 'v1');
  return { ...found, prefix: { namespace, name } };
}

function parseBare(method: string, path: string): Operation {
  if (path.startsWith('/v2/repository/models/')) return parseRepository(method, path);
  if (path.startsWith('/v2/models/')) return parseV2Model(method, path);
  if (path.startsWith('/v1/models/')) return parseV1Model(method, path.slice('/v1/models/'.length));
  if (path.startsWith('/openai/v1/models/')) return parseOpenAiModel(method, path);
  const control = path.startsWith('/v2') ? null : parseControl(method, path);
  if (control !== null) return control;
  if (path.startsWith('/v1/responses/')) return parseStored(method, path);
  if (path.startsWith('/openai/v1/responses/')) return parseStored(method, path.slice('/openai'.length));
  if (path.startsWith('/v2/') || path === '/v2/') return operation('unknown-route', 'v2');
  const isOpenAi = path.startsWith('/v1/') || path.startsWith('/openai');
  return operation('unknown-route', isOpenAi ? 'openai' : 'v1');
}

const controlPath = /^(?:\/openai)?(\/v1\/(files|batches)(?:\/[\w-]{1,200}(?:\/(content|cancel))?)?)$/;

/** Files and batches, by the methods that the control API has for each. @returns null for other paths */
function parseControl(method: string, path: string): Operation | null {
  const parts = controlPath.exec(path);
  const [, head, kind, verb] = parts ?? [];
  if (head === undefined || kind === undefined) return null;
  const isOne = head !== `/v1/${kind}`;
  if ((verb === 'content' && kind !== 'files') || (verb === 'cancel' && kind !== 'batches')) return null;
  const found = operation('openai-control', 'openai', { head });
  if (verb !== undefined) return byMethod(verb === 'cancel' ? { POST: found } : { GET: found }, method);
  if (!isOne) return byMethod({ GET: found, POST: found }, method);
  return byMethod(kind === 'files' ? { GET: found, DELETE: found } : { GET: found }, method);
}

/** Reading, deleting or cancelling a stored response; its id is the last thing that a server knows it by. */
function parseStored(method: string, path: string): Operation {
  const parts = /^\/v1\/responses\/([\w-]{1,256})(\/(?:cancel|input_items))?$/.exec(path);
  if (parts === null) return operation('unknown-route', 'openai');
  const found = operation('openai-stored', 'openai', { model: parts[1] ?? '', head: path });
  if (parts[2] === '/cancel') return byMethod({ POST: found }, method);
  return byMethod(parts[2] === undefined ? { GET: found, DELETE: found } : { GET: found }, method);
}

function parseOpenAiModel(method: string, path: string): Operation {
  const model = decode(path.slice('/openai/v1/models/'.length));
  if (model === null) return operation('bad-path', 'openai');
  return byMethod(reading(operation('model-get', 'openai', { model })), method);
}

function parseV1Model(method: string, rest: string): Operation {
  const verb = /^(.+)(:predict|:explain)$/.exec(rest);
  const model = decode(verb?.[1] ?? rest);
  if (model === null) return operation('bad-path', 'v1');
  if (verb === null) return byMethod(reading(operation('model-get', 'openai', { model })), method);
  const kind = verb[2] === ':predict' ? 'v1-call' : 'v1-explain';
  const found = operation(kind, 'v1', { model, head: '/v1/models/', tail: verb[2] ?? '' });
  return byMethod({ POST: found }, method);
}

const v2Model =
  /^\/v2\/models\/(.+?)(?:\/versions\/([\w-][\w.-]*))?(?:\/(ready|infer|generate|generate_stream|config|stats))?\/?$/;

function parseV2Model(method: string, path: string): Operation {
  const parts = v2Model.exec(path);
  const model = decode(parts?.[1]);
  if (parts === null || model === null) return operation('bad-path', 'v2');
  const verb = parts[3];
  const tail =
    (parts[2] === undefined ? '' : `/versions/${parts[2]}`) + (verb === undefined ? '' : `/${verb}`);
  const more = { model, head: '/v2/models/', tail };
  if (verb === 'ready') return byMethod(reading(operation('v2-ready', 'v2', more)), method);
  if (verb === undefined || verb === 'config' || verb === 'stats') {
    return byMethod(reading(operation('v2-read', 'v2', more)), method);
  }
  return byMethod({ POST: operation('v2-call', 'v2', more) }, method);
}

function parseRepository(method: string, path: string): Operation {
  const parts = /^\/v2\/repository\/models\/(.+)\/(load|unload)$/.exec(path);
  if (parts === null) return operation('unknown-route', 'v2');
  const model = decode(parts[1]);
  if (model === null) return operation('bad-path', 'v2');
  const kind = parts[2] === 'load' ? 'v2-load' : 'v2-unload';
  const found = operation(kind, 'v2', { model, head: '/v2/repository/models/', tail: `/${parts[2] ?? ''}` });
  return byMethod({ POST: found }, method);
}

function decode(segment: string | undefined): string | null {
  if (segment === undefined || segment === '') return null;
  try {
    return decodeURIComponent(segment);
  } catch {
    return null;
  }
}
