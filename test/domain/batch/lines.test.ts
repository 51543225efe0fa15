import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { checkLine, windowMs } from '../../../domain/batch/lines.ts';
import { answeredLine, unansweredLine } from '../../../domain/batch/output.ts';

const endpoint = '/v1/chat/completions';
const line = (more: Record<string, unknown> = {}) =>
  JSON.stringify({ custom_id: 'a', method: 'POST', url: endpoint, body: { model: 'm' }, ...more });
const check = (text: string, seen = new Set<string>()) => checkLine(text, endpoint, seen);

describe('a line of a batch', () => {
  test('keeps the text of its body, numbers and all', () => {
    const body = '{ "model":"m", "seed": 9007199254740993, "x":[1.10, {"body":2}] }';
    const text = `{"custom_id":"a","note":{"body":1},"method":"POST", "url":"${endpoint}","body" : ${body} }`;
    expect(check(text)).toEqual({ ok: true, customId: 'a', body });
  });

  test('keeps the text of its body wherever braces, quotes and colons stand', () => {
    fc.assert(
      fc.property(fc.json(), fc.string(), (note, id) => {
        fc.pre(id !== '' && id.length < 500);
        const body = `{"model":"m","note":${note}}`;
        const text = `{"note":${note},"custom_id":${JSON.stringify(id)},"b\\u006fdy":${body},"method":"POST","url":"${endpoint}"}`;
        expect(check(text)).toEqual({ ok: true, customId: id, body });
      }),
    );
  });

  test.each([
    ['no JSON', '{', 'invalid_json_line'],
    ['a list', '[]', 'invalid_json_line'],
    ['nothing', '', 'invalid_json_line'],
    ['no id', line({ custom_id: 3 }), 'invalid_custom_id'],
    ['another method', line({ method: 'GET' }), 'invalid_method'],
    ['another path', line({ url: '/v1/embeddings' }), 'mismatched_url'],
    ['no body', line({ body: null }), 'invalid_body'],
    ['no model', line({ body: {} }), 'invalid_body'],
    ['a stream', line({ body: { model: 'm', stream: true } }), 'invalid_body'],
  ])('with %s is wrong', (_name, text, code) => {
    expect(check(text)).toMatchObject({ ok: false, error: { code } });
  });

  test('must have an id of its own', () => {
    const seen = new Set<string>();
    expect(check(line(), seen).ok).toBe(true);
    expect(check(line(), seen)).toMatchObject({ ok: false, error: { code: 'duplicate_custom_id' } });
  });
});

test.each([
  ['24h', 86_400_000],
  ['5m', 300_000],
  ['7d', 604_800_000],
  ['8d', NaN],
  ['0h', NaN],
  ['1w', NaN],
  ['', NaN],
])('a window of %p is %p ms', (window, ms) => {
  expect(windowMs(window)).toBe(ms);
});

describe('an output line', () => {
  test('holds the answer as it came, on one line', () => {
    const text = answeredLine({
      id: 'r',
      customId: 'a"b',
      status: 200,
      requestId: 'q',
      body: '{\n "n": 1.10\n}',
    });
    expect(text).toContain('"body":{  "n": 1.10 }');
    expect(JSON.parse(text)).toMatchObject({
      custom_id: 'a"b',
      response: { status_code: 200, body: { n: 1.1 } },
    });
    expect(text).not.toContain('\n');
  });

  test('holds what is no JSON as a string', () => {
    const text = answeredLine({ id: 'r', customId: 'a', status: 502, requestId: 'q', body: '<html>\n' });
    expect(JSON.parse(text)).toMatchObject({ response: { body: '<html>\n' } });
  });

  test('says why there is no answer', () => {
    expect(
      JSON.parse(unansweredLine({ id: 'r', customId: 'a', code: 'batch_expired', message: 'late' })),
    ).toEqual({
      id: 'r',
      custom_id: 'a',
      response: null,
      error: { code: 'batch_expired', message: 'late' },
    });
  });
});
