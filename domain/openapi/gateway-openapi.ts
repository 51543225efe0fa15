/**
 * What the gateway serves, as an OpenAPI 3.1 document (GET /openapi.json): for people, for generated clients, and for the
 * fuzzer that holds the gateway to it. Bodies of models are described as far as the gateway itself reads them; the rest
 * is the model server's affair and passes untouched.
 */
type Json = Readonly<Record<string, unknown>>;

const openaiError = ref('OpenAIError');
const kserveError = ref('KServeError');
const anthropicError = ref('AnthropicError');
const anything = { description: 'As the model server answers', content: { '*/*': { schema: {} } } };

/** @param version of Muster */
export function gatewayOpenApi(version: string): Json {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Muster gateway',
      version,
      description:
        'OpenAI, Anthropic, KServe V1 and V2 on one port. All paths also under /serving/{namespace}/{name}.',
    },
    // None, or one of them, as the access policy says.
    security: [{}, { bearer: [] }, { apiKey: [] }],
    paths: { ...openaiPaths(), ...anthropicPaths(), ...v1Paths(), ...v2Paths(), ...ownPaths() },
    components: { securitySchemes, schemas },
  };
}

const securitySchemes = {
  bearer: { type: 'http', scheme: 'bearer', description: 'An API key, or a token of a known issuer' },
  apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key' },
};

const nullableString = { type: ['string', 'null'] };
const schemas = {
  OpenAIError: object({
    error: object({
      message: { type: 'string' },
      type: { type: 'string' },
      param: nullableString,
      code: nullableString,
    }),
  }),
  KServeError: object({ error: { type: 'string' } }),
  AnthropicError: object({
    type: { const: 'error' },
    error: object({ type: { type: 'string' }, message: { type: 'string' } }),
  }),
};

function openaiPaths(): Json {
  const json = [
    ['/v1/chat/completions', 'Chat completion, whole or as a stream'],
    ['/v1/completions', 'Completion, whole or as a stream'],
    ['/v1/embeddings', 'Embeddings'],
    ['/v1/responses', 'Response, whole or as a stream'],
    ['/v1/rerank', 'Order documents by a query'],
    ['/v1/score', 'Score pairs of texts'],
    ['/v1/classify', 'Classify texts'],
    ['/v1/pooling', 'Hidden states'],
    ['/v1/moderations', 'Moderation'],
    ['/v1/audio/speech', 'Speech of a text'],
    ['/v1/images/generations', 'Pictures of a text'],
    ['/tokenize', 'Tokens of a text'],
    ['/detokenize', 'Text of tokens'],
  ] as const;
  const form = [
    ['/v1/audio/transcriptions', 'Text of speech'],
    ['/v1/audio/translations', 'English text of speech'],
    ['/v1/images/edits', 'Change a picture'],
    ['/v1/images/variations', 'Vary a picture'],
  ] as const;
  const id = [pathParameter('id')];
  const stored = { parameters: id, responses: responses(anything, openaiError) };
  const listed = { responses: responses(anything, openaiError) };
  return {
    ...Object.fromEntries(
      json.map(([path, summary]) => [path, { post: call(summary, jsonBody(), openaiError) }]),
    ),
    ...Object.fromEntries(
      form.map(([path, summary]) => [path, { post: call(summary, formBody(), openaiError) }]),
    ),
    '/v1/responses/{id}': {
      get: { summary: 'A stored response', ...stored },
      delete: { summary: 'Delete a stored response', ...stored },
    },
    '/v1/responses/{id}/cancel': { post: { summary: 'Cancel a response', ...stored } },
    '/v1/responses/{id}/input_items': { get: { summary: 'Input of a response', ...stored } },
    '/v1/files': {
      get: { summary: 'Files', ...listed },
      post: call('Upload a file', formBody(), openaiError),
    },
    '/v1/files/{id}': {
      get: { summary: 'A file', ...stored },
      delete: { summary: 'Delete a file', ...stored },
    },
    '/v1/files/{id}/content': { get: { summary: 'Bytes of a file', ...stored } },
    '/v1/batches': {
      get: { summary: 'Batches', ...listed },
      post: call('Make a batch', jsonBody([]), openaiError),
    },
    '/v1/batches/{id}': { get: { summary: 'A batch', ...stored } },
    '/v1/batches/{id}/cancel': { post: { summary: 'Cancel a batch', ...stored } },
  };
}

function anthropicPaths(): Json {
  return {
    '/v1/messages': { post: call('Message, whole or as a stream', jsonBody(), anthropicError) },
    '/v1/messages/count_tokens': { post: call('Tokens of a message', jsonBody(), anthropicError) },
  };
}

function v1Paths(): Json {
  const model = pathParameter('model');
  const modelObject = object({ name: { type: 'string' }, ready: { type: 'boolean' } });
  const list = object({ object: { const: 'list' }, data: { type: 'array' }, models: { type: 'array' } });
  return {
    '/v1/models': {
      get: { summary: 'Models, as OpenAI and V1 list them', responses: responses(json(list), openaiError) },
    },
    '/v1/models/{model}': {
      get: {
        summary: 'A model, and whether it is ready',
        parameters: [model],
        responses: responses(json(modelObject), either(openaiError, kserveError)),
      },
    },
    '/v1/models/{model}:predict': {
      post: { ...call('Predict', anyBody(), kserveError), parameters: [model] },
    },
    '/v1/models/{model}:explain': {
      post: { ...call('Explain', anyBody(), kserveError), parameters: [model] },
    },
  };
}

function v2Paths(): Json {
  const model = pathParameter('model');
  const named = (summary: string) => ({
    summary,
    parameters: [model],
    responses: responses(anything, kserveError),
  });
  const posted = (summary: string) => ({ ...call(summary, anyBody(), kserveError), parameters: [model] });
  const own = (summary: string, schema: Json) => ({
    summary,
    responses: responses(json(schema), kserveError),
  });
  const index = { type: 'array', items: object({ name: { type: 'string' }, state: { type: 'string' } }) };
  return {
    '/v2': { get: own('The server', object({ name: { type: 'string' }, version: { type: 'string' } })) },
    '/v2/health/live': { get: own('Alive', object({ live: { type: 'boolean' } })) },
    '/v2/health/ready': { get: own('Ready', object({ ready: { type: 'boolean' } })) },
    '/v2/models': { get: own('Models', object({ models: { type: 'array', items: { type: 'string' } } })) },
    '/v2/models/{model}': { get: named('Metadata of a model') },
    '/v2/models/{model}/ready': { get: named('Whether a model is ready') },
    '/v2/models/{model}/config': { get: named('Configuration of a model') },
    '/v2/models/{model}/stats': { get: named('Statistics of a model') },
    '/v2/models/{model}/infer': { post: posted('Infer: JSON, or with binary tensors') },
    '/v2/models/{model}/generate': { post: posted('Generate') },
    '/v2/models/{model}/generate_stream': { post: posted('Generate, as a stream') },
    '/v2/repository/index': {
      post: {
        ...own('Repository index', index),
        requestBody: { content: { 'application/json': { schema: {} } } },
      },
    },
    '/v2/repository/models/{model}/load': { post: named('Load a model on all of its servers') },
    '/v2/repository/models/{model}/unload': { post: named('Unload a model from all of its servers') },
  };
}

function ownPaths(): Json {
  return {
    '/': {
      get: {
        summary: 'Alive',
        responses: responses(json(object({ status: { const: 'alive' } })), kserveError),
      },
    },
    '/metrics': {
      get: {
        summary: 'Prometheus metrics',
        responses: responses(
          { description: 'Metrics', content: { 'text/plain': { schema: { type: 'string' } } } },
          kserveError,
        ),
      },
    },
    '/openapi.json': {
      get: { summary: 'This document', responses: responses(json({ type: 'object' }), kserveError) },
    },
  };
}

function call(summary: string, requestBody: Json, error: Json): Json {
  return { summary, requestBody, responses: responses(anything, error) };
}

/** Refusals of the gateway have their protocol's shape; a server's own errors pass as they are. */
function responses(ok: Json, error: Json): Json {
  const own = { description: 'A refusal of the gateway', content: { 'application/json': { schema: error } } };
  return { '200': ok, default: own };
}

function json(schema: Json): Json {
  return { description: 'OK', content: { 'application/json': { schema } } };
}

function jsonBody(required: readonly string[] = ['model']): Json {
  const schema = {
    type: 'object',
    properties: { model: { type: 'string' }, stream: { type: 'boolean' } },
    required,
  };
  return { required: true, content: { 'application/json': { schema } } };
}

function formBody(): Json {
  const schema = object({ model: { type: 'string' }, file: { type: 'string', format: 'binary' } });
  return { required: true, content: { 'multipart/form-data': { schema } } };
}

function anyBody(): Json {
  return { required: true, content: { 'application/json': { schema: { type: 'object' } } } };
}

function pathParameter(name: string): Json {
  return { name, in: 'path', required: true, schema: { type: 'string', minLength: 1 } };
}

function object(properties: Json): Json {
  return { type: 'object', properties, required: Object.keys(properties) };
}

function either(...schemasOf: readonly Json[]): Json {
  return { anyOf: schemasOf };
}

function ref(name: string): Json {
  return { $ref: `#/components/schemas/${name}` };
}
