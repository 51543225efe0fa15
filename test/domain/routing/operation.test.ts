import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseOperation } from '../../../domain/routing/operation.ts';

describe('what a request asks for', () => {
  test.each([
    ['POST', '/v1/chat/completions', { kind: 'openai-call', head: '/v1/chat/completions', model: null }],
    ['POST', '/openai/v1/embeddings', { kind: 'openai-call', head: '/v1/embeddings' }],
    ['GET', '/v1/models', { kind: 'model-list', protocol: 'openai' }],
    ['HEAD', '/v1/models', { kind: 'model-list' }],
    ['GET', '/v1/models/iris', { kind: 'model-get', model: 'iris' }],
    ['GET', '/v1/models/team/iris', { kind: 'model-get', model: 'team/iris' }],
    ['GET', '/v1/models/team%2Firis', { kind: 'model-get', model: 'team/iris' }],
    ['GET', '/openai/v1/models/iris', { kind: 'model-get', model: 'iris' }],
    ['POST', '/v1/models/iris:predict', { kind: 'v1-call', model: 'iris', tail: ':predict' }],
    ['POST', '/v1/models/a:b:predict', { kind: 'v1-call', model: 'a:b' }],
    ['POST', '/v1/models/iris:explain', { kind: 'v1-explain', model: 'iris' }],
    ['GET', '/v1/models/iris:predict', { kind: 'wrong-method', allow: 'POST', protocol: 'v1' }],
    ['POST', '/v2/models/iris/infer', { kind: 'v2-call', model: 'iris', tail: '/infer' }],
    [
      'POST',
      '/v2/models/iris/versions/1/infer',
      { kind: 'v2-call', model: 'iris', tail: '/versions/1/infer' },
    ],
    ['POST', '/v2/models/team/iris/infer', { kind: 'v2-call', model: 'team/iris' }],
    ['POST', '/v2/models/iris/generate_stream', { kind: 'v2-call', tail: '/generate_stream' }],
    ['GET', '/v2/models/iris', { kind: 'v2-read', model: 'iris', tail: '' }],
    ['GET', '/v2/models/iris/config', { kind: 'v2-read', tail: '/config' }],
    ['GET', '/v2/models/iris/ready', { kind: 'v2-ready', model: 'iris' }],
    ['GET', '/v2/models/ready', { kind: 'v2-read', model: 'ready' }],
    ['GET', '/v2/models/x/versions/../ready', { kind: 'v2-ready', model: 'x/versions/..', tail: '/ready' }],
    ['POST', '/v2/repository/index', { kind: 'v2-index' }],
    ['POST', '/v2/repository/models/iris/load', { kind: 'v2-load', model: 'iris', tail: '/load' }],
    ['POST', '/v2/repository/models/iris/unload', { kind: 'v2-unload' }],
    ['POST', '/v2/repository/models/iris', { kind: 'unknown-route', protocol: 'v2' }],
    ['GET', '/v2/models/%ff/ready', { kind: 'bad-path', protocol: 'v2' }],
    ['DELETE', '/v1/chat/completions', { kind: 'wrong-method', allow: 'POST', protocol: 'openai' }],
    ['constructor', '/v2', { kind: 'wrong-method', allow: 'GET, HEAD' }],
    ['GET', '/v1/files', { kind: 'openai-control', protocol: 'openai', head: '/v1/files' }],
    [
      'POST',
      '/openai/v1/batches/batch_1/cancel',
      { kind: 'openai-control', head: '/v1/batches/batch_1/cancel' },
    ],
    ['GET', '/v1/batches/b/content', { kind: 'unknown-route' }],
    ['GET', '/v1/batches/b/cancel', { kind: 'wrong-method', allow: 'POST' }],
    ['GET', '/v1/files/../secrets', { kind: 'unknown-route', protocol: 'openai' }],
    ['PUT', '/v1/files/file-1', { kind: 'wrong-method', allow: 'GET, DELETE' }],
    ['POST', '/v1/messages', { kind: 'anthropic-call', protocol: 'anthropic', head: '/v1/chat/completions' }],
    ['POST', '/openai/v1/audio/transcriptions', { kind: 'openai-form', head: '/v1/audio/transcriptions' }],
    ['POST', '/v2/rerank', { kind: 'openai-call', protocol: 'openai', head: '/v2/rerank' }],
    ['DELETE', '/v1/responses/resp_1', { kind: 'openai-stored', model: 'resp_1' }],
    ['GET', '/v1/unknown', { kind: 'unknown-route', protocol: 'openai' }],
    ['GET', '/v2/nothing', { kind: 'unknown-route', protocol: 'v2' }],
    ['GET', '/favicon.ico', { kind: 'unknown-route', protocol: 'v1' }],
  ])('%s %s', (method, path, expected) => {
    expect(parseOperation(method, path)).toMatchObject(expected);
  });

  test.each([
    ['POST', '/serving/team/iris/v1/chat/completions', 'openai-call'],
    ['POST', '/serving/team/iris/openai/v1/completions', 'openai-call'],
    ['POST', '/serving/team/iris/v2/models/m/infer', 'v2-call'],
    ['GET', '/serving/team/iris/v2/health/ready', 'v2-server-ready'],
    ['GET', '/serving/team/iris', 'alive'],
    ['GET', '/serving/team/iris/metrics', 'unknown-route'],
  ])('%s %s names the service too', (method, path, kind) => {
    const found = parseOperation(method, path);
    expect(found.kind).toBe(kind);
    if (kind !== 'unknown-route') expect(found.prefix).toEqual({ namespace: 'team', name: 'iris' });
  });

  test('no path throws, and none reaches a server but under its own protocol', () => {
    const piece = fc.constantFrom(
      'v1',
      'v2',
      'models',
      'serving',
      'openai',
      '..',
      'infer',
      'm:predict',
      '%2e%2e',
      '',
    );
    const path = fc
      .array(fc.oneof(piece, fc.string()), { maxLength: 8 })
      .map((parts) => `/${parts.join('/')}`);
    fc.assert(
      fc.property(fc.constantFrom('GET', 'POST', 'HEAD', 'PUT'), path, (method, asked) => {
        const { head, tail } = parseOperation(method, asked);
        expect(head === '' || /^\/v[12]\//.test(head)).toBe(true);
        expect(tail).not.toContain('..');
      }),
    );
  });
});
