import { expect, test } from '@jest/globals';
import { displayUri } from '../../../domain/storage/display-uri.ts';
import { modelUriOf } from '../../../domain/workload/model-uri.ts';
import type { Workload } from '../../../domain/workload/workload.ts';

test.each([
  ['https://host/model.onnx?sig=SECRET&x=1', 'https://host/model.onnx'],
  ['https://host/model.onnx#SECRET', 'https://host/model.onnx'],
  ['hf://owner/model:main', 'hf://owner/model:main'],
  ['file:///models/iris', 'file:///models/iris'],
  ['?SECRET', ''],
])('%s is shown as %s', (uri, shown) => {
  expect(displayUri(uri)).toBe(shown);
  expect(modelUriOf({ models: [{ uri, path: '' }] } as unknown as Workload)).toBe(shown);
});
