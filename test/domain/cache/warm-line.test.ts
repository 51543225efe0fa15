import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { readWarmLine } from '../../../domain/cache/warm-line.ts';

describe('a line of a file that warms a cache', () => {
  test.each([
    [
      '{"messages":[],"seed":9007199254740993}',
      '/v1/chat/completions',
      '{"messages":[],"seed":9007199254740993}',
    ],
    [' {"prompt":"x"} ', '/v1/completions', '{"prompt":"x"}'],
    ['{"input":"x"}', '/v1/embeddings', '{"input":"x"}'],
    ['{"query":"x","documents":[]}', '/v1/rerank', '{"query":"x","documents":[]}'],
    [
      '{"custom_id":"1","method":"POST","url":"/v1/completions","body":{"prompt":"x","seed":9007199254740993}}',
      '/v1/completions',
      '{"prompt":"x","seed":9007199254740993}',
    ],
    [
      '{"specversion":"1.0","type":"org.kubeflow.serving.inference.request","data":{"prompt":"x","seed":1.0}}',
      '/v1/completions',
      '{"prompt":"x","seed":1.0}',
    ],
  ])('%s', (line, path, body) => {
    expect(readWarmLine(line)).toEqual({ kind: 'request', path, body });
  });

  test('leaves answers in a log alone', () => {
    const line =
      '{"specversion":"1.0","type":"org.kubeflow.serving.inference.response","data":{"choices":[]}}';
    expect(readWarmLine(line)).toEqual({ kind: 'other' });
  });

  test.each([
    ['nonsense', 'not JSON'],
    ['[]', 'not a JSON object'],
    ['{}', "none of 'messages'"],
    ['{"url":"http://evil.example/x","body":{}}', 'must be a path'],
    ['{"specversion":"1.0","type":"a.request","data":"QUJD"}', 'no JSON object as data'],
    ['{"specversion":"1.0","data":{}}', "none of 'messages'"],
  ])('refuses %s', (line, why) => {
    const read = readWarmLine(line);
    expect(read.kind === 'refused' ? read.why : read.kind).toContain(why);
  });

  test('never throws', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (line) => {
        expect(['request', 'other', 'refused']).toContain(readWarmLine(line).kind);
      }),
    );
  });
});
