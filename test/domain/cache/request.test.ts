import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { CachePolicy } from '../../../domain/cache/cache-policy.schema.ts';
import { deliveryOf, openAiRequest } from '../../../domain/cache/request.ts';
import type { Delivery } from '../../../domain/cache/request.ts';
import { isAnyEnabled, rulesFor } from '../../../domain/cache/rules.ts';

const rules = rulesFor(CachePolicy.parse({ enabled: true }), 'default/tiny');
const free = { ...rules, deterministicOnly: false };

function read(
  body: string,
  delivery: Delivery = 'chat',
  more: { partition?: string; path?: string; query?: string; rules?: typeof rules } = {},
) {
  const { partition = 'ta', path = '/v1/chat/completions', query = '' } = more;
  const fields = JSON.parse(body) as Record<string, unknown>;
  return openAiRequest({ path, query, partition, text: body, fields }, delivery, more.rules ?? rules);
}

const keyOf = (...args: Parameters<typeof read>): string => {
  const found = read(...args);
  if (found.kind === 'bypass') throw new Error(found.reason);
  return found.text;
};

const base = {
  model: 'm',
  messages: [
    { role: 'system', content: 'be brief' },
    { role: 'user', content: 'hi' },
  ],
  temperature: 0,
};

describe("a request's text in the cache", () => {
  test.each([
    ['stream', true],
    ['stream_options', { include_usage: true }],
    ['user', 'somebody'],
    ['metadata', { a: 'b' }],
    ['safety_identifier', 'x'],
    ['prompt_cache_key', 'x'],
    ['prompt_cache_retention', '24h'],
  ])('is the same with and without %s', (name, value) => {
    expect(keyOf(JSON.stringify({ ...base, [name]: value }))).toBe(keyOf(JSON.stringify(base)));
  });

  test.each([
    ['model', 'n'],
    ['messages', [{ role: 'user', content: 'hi' }]],
    ['top_p', 0.5],
    ['seed', 1],
    ['tools', [{ type: 'function', function: { name: 'f', parameters: {} } }]],
    ['tool_choice', 'auto'],
    ['parallel_tool_calls', false],
    ['response_format', { type: 'json_object' }],
    ['logprobs', true],
    ['top_logprobs', 2],
    ['n', 2],
    ['max_tokens', 5],
    ['max_completion_tokens', 5],
    ['stop', ['.']],
    ['presence_penalty', 1],
    ['frequency_penalty', 1],
    ['logit_bias', { 5: 1 }],
    ['reasoning_effort', 'low'],
    ['service_tier', 'flex'],
    ['top_k', 1],
    ['guided_json', {}],
    ['something_new', null],
    ['toString', 1],
    ['__proto__', 1],
  ])('is another with another %s', (name, value) => {
    const changed = `${JSON.stringify(base).slice(0, -1)},${JSON.stringify(name)}:${JSON.stringify(value)}}`;
    const body = name in base && name !== 'toString' ? JSON.stringify({ ...base, [name]: value }) : changed;
    expect(keyOf(name === '__proto__' || name === 'toString' ? changed : body)).not.toBe(
      keyOf(JSON.stringify(base)),
    );
  });

  test('changes with any value anywhere in what counts', () => {
    const json = fc.jsonValue({ maxDepth: 3 });
    fc.assert(
      fc.property(
        json,
        json,
        fc.constantFrom('messages', 'tools', 'x', 'stop', 'logit_bias'),
        (a, b, name) => {
          const one = JSON.stringify({ ...base, [name]: a });
          const other = JSON.stringify({ ...base, [name]: b });
          fc.pre(one !== other);
          const same = JSON.stringify(sorted(JSON.parse(one))) === JSON.stringify(sorted(JSON.parse(other)));
          expect(keyOf(one, 'chat', { rules: free }) === keyOf(other, 'chat', { rules: free })).toBe(same);
        },
      ),
      { numRuns: 300 },
    );
  });

  test('is never the same for two tenants, paths or queries', () => {
    const text = fc.string({ maxLength: 12, unit: fc.constantFrom(...Array.from('abt0123456789:/{"')) });
    const body = JSON.stringify(base);
    const asked = fc.record({ partition: text, path: text, query: text });
    fc.assert(
      fc.property(asked, asked, (one, other) => {
        const same =
          one.partition === other.partition && one.path === other.path && one.query === other.query;
        expect(keyOf(body, 'chat', one) === keyOf(body, 'chat', other)).toBe(same);
      }),
      { numRuns: 1_000 },
    );
  });

  test('cannot be forged by a tenant whose name holds the beginning of a request', () => {
    const body = JSON.stringify(base);
    const known = keyOf(body, 'chat', { partition: 'a' });
    expect(keyOf(body, 'chat', { partition: `a20:/v1/chat/completions0:`, path: '' })).not.toBe(known);
  });
});

describe('what does not count', () => {
  const unkeyedOf = (more: object) => {
    const found = read(JSON.stringify({ ...base, ...more }));
    return found.kind === 'bypass' ? null : found.unkeyed;
  };

  test('is told apart all the same, for refusals', () => {
    expect(unkeyedOf({})).toBe('');
    expect(unkeyedOf({ user: 5 })).toBe('"user":5');
    expect(unkeyedOf({ user: '5' })).not.toBe(unkeyedOf({ user: 5 }));
    expect(unkeyedOf({ stream: true })).not.toBe(unkeyedOf({ stream: false }));
    expect(unkeyedOf({ top_p: 1, user: 'a', stream: true })).toBe('"user":"a","stream":true');
  });
});

describe('which requests have a place in the cache', () => {
  test.each([
    ['temperature 0', { temperature: 0 }, true],
    ['temperature 0 in another spelling', { temperature: 0.0 }, true],
    ['a seed', { seed: 7 }, true],
    ['a seed and a temperature', { seed: 7, temperature: 1 }, true],
    ['a temperature', { temperature: 0.1 }, false],
    ['nothing said', {}, false],
    ['a temperature that is text', { temperature: '0' }, false],
    ['no seed after all', { seed: null }, false],
    ['the seed that means a random one', { seed: -1 }, false],
    ['the same in 32 bits', { seed: 4294967295 }, false],
    ['another seed below 0', { seed: -2 }, true],
  ])('%s', (_what, more, isCacheable) => {
    const body = JSON.stringify({ model: 'm', messages: [], ...more });
    expect(read(body).kind).toBe(isCacheable ? 'cacheable' : 'bypass');
    expect(read(body, 'chat', { rules: free }).kind).toBe('cacheable');
  });

  test('embeddings and the like need no temperature', () => {
    expect(read('{"input":"x"}', 'plain', { path: '/v1/embeddings' }).kind).toBe('cacheable');
  });

  test.each([
    ['a web search', { web_search_options: {} }],
    ['a picture by address', { messages: [{ content: [{ image_url: { url: 'http://a/b' } }] }] }],
    ['a picture by address alone', { messages: [{ content: [{ image_url: 'https://a/b' }] }] }],
    ['a sound by address alone', { messages: [{ content: [{ audio_url: 'https://a/b' }] }] }],
    ['a film by address alone', { messages: [{ content: [{ video_url: 'https://a/b' }] }] }],
    ['a file by its id', { messages: [{ content: [{ file: { file_id: 'f1' } }] }] }],
  ])('%s is of the moment', (_what, more) => {
    const body = JSON.stringify({ ...base, ...more });
    expect(read(body)).toEqual({ kind: 'bypass', reason: 'living_content' });
    expect(read(body, 'chat', { rules: free }).kind).toBe('cacheable');
  });

  test.each([[{ url: 'data:image/png;base64,AA==' }], ['data:image/png;base64,AA==']])(
    'a picture within the request is not: %j',
    (picture) => {
      const messages = [{ content: [{ image_url: picture }] }];
      expect(read(JSON.stringify({ ...base, messages })).kind).toBe('cacheable');
    },
  );

  test('stored responses, audio and pictures have none', () => {
    for (const path of ['/v1/responses', '/v1/audio/speech', '/v1/images/generations', '/v1/files'])
      expect(deliveryOf(path)).toBeNull();
  });
});

describe('the rules of a service', () => {
  test('are its own where it has some, else those for all', () => {
    const policy = CachePolicy.parse({
      ttlSeconds: 60,
      semantic: { model: 'minilm', threshold: 0.9 },
      services: { 'a/b': { enabled: true, scope: 'shared', semantic: { threshold: 0.99 } } },
    });
    expect(rulesFor(policy, 'a/b')).toMatchObject({ enabled: true, ttlSeconds: 60, scope: 'shared' });
    expect(rulesFor(policy, 'a/b').semantic).toMatchObject({ model: 'minilm', threshold: 0.99 });
    expect(rulesFor(policy, 'a/c')).toMatchObject({ enabled: false, scope: 'tenant' });
    expect(rulesFor(policy, 'constructor').enabled).toBe(false);
    expect(isAnyEnabled(policy)).toBe(true);
    expect(isAnyEnabled(CachePolicy.parse({}))).toBe(false);
  });

  test.each([
    { ttlSeconds: 0 },
    { scope: 'everybody' },
    { nonsense: 1 },
    { services: { 'a/b': { ttlSecond: 1 } } },
    { semantic: { threshold: 2 } },
  ])('refuse %j', (policy) => {
    expect(CachePolicy.safeParse(policy).success).toBe(false);
  });
});

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return { members: members.map(([name, item]) => [name, sorted(item)]) }; // lists and objects stay apart
}
