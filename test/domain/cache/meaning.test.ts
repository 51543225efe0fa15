import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { splitRequest } from '../../../domain/cache/prompt.ts';
import { Vectors, unit } from '../../../domain/cache/vectors.ts';

const chat = (content: unknown, more: Record<string, unknown> = {}) =>
  JSON.stringify({
    messages: [
      { role: 'system', content: 's' },
      { role: 'user', content },
    ],
    temperature: 0,
    ...more,
  });

describe('a request split into prompt and frame', () => {
  test('has the same frame for another last message, and its own numbers', () => {
    const one = splitRequest(chat('add 1 and 2.5', { stream: true }), 'chat');
    const other = splitRequest(chat('sum of ٣'), 'chat');
    expect(one?.prompt).toBe('add 1 and 2.5');
    expect(one?.frame).toBe(other?.frame);
    expect([one?.marks, other?.marks]).toEqual(['1 2.5', '٣']);
  });

  test.each([
    [
      'the system says something else',
      JSON.stringify({
        messages: [
          { role: 'system', content: 't' },
          { role: 'user', content: 'x' },
        ],
        temperature: 0,
      }),
    ],
    ['there is a tool', chat('x', { tools: [] })],
    ['the temperature is another', chat('x', { temperature: 0.0001 })],
    ['the seed is another, though a double cannot tell', chat('x', { seed: 9007199254740993 })],
    [
      'an earlier turn is another',
      JSON.stringify({
        messages: [
          { role: 'system', content: 's' },
          { role: 'user', content: 'before' },
          { role: 'user', content: 'x' },
        ],
        temperature: 0,
      }),
    ],
    [
      'the last message has a name',
      JSON.stringify({
        messages: [
          { role: 'system', content: 's' },
          { role: 'user', content: 'x', name: 'n' },
        ],
        temperature: 0,
      }),
    ],
  ])('has another frame when %s', (_what, text) => {
    expect(splitRequest(text, 'chat')?.frame).not.toBe(splitRequest(chat('x'), 'chat')?.frame);
  });

  test('keeps the digits of a seed in its frame', () => {
    const seed = (digits: string) =>
      splitRequest(`{"messages":[{"role":"user","content":"x"}],"seed":${digits}}`, 'chat')?.frame;
    expect(seed('9007199254740993')).not.toBe(seed('9007199254740992'));
  });

  test.each([
    ['the last word is not a user’s', JSON.stringify({ messages: [{ role: 'assistant', content: 'x' }] })],
    ['the content has parts', chat([{ type: 'text', text: 'x' }])],
    ['the content is empty', chat(' ')],
    ['there are no messages', '{}'],
    ['it is no object', '[]'],
  ])('is not split when %s', (_what, text) => {
    expect(splitRequest(text, 'chat')).toBeNull();
  });

  test('of a completion is its prompt', () => {
    expect(splitRequest('{"prompt":"once","max_tokens":5}', 'completion')?.prompt).toBe('once');
    expect(splitRequest('{"prompt":["once"],"max_tokens":5}', 'completion')).toBeNull();
  });
});

describe('what must be equal in a prompt beside its meaning', () => {
  const marks = (prompt: string) => splitRequest(chat(prompt), 'chat')?.marks;
  test.each([
    ['Is aspirin safe?', 'Is aspirin not safe?'],
    ['It works', "It doesn't work"],
    ['It works', 'It doesn’t work'],
    ['Ist das gut?', 'Ist das nicht gut?'],
    ['Avec sucre', 'Sans sucre'],
    ['这是安全的吗', '这不是安全的吗'],
    ['add 2 and 2', 'add 2 and 3'],
    ['on 2026-01-02', 'on 2026-01-03'],
    ['1, 2', '2, 1'],
  ])('%s / %s', (one, other) => {
    expect(marks(one)).not.toBe(marks(other));
  });

  test.each([
    ['What is the capital of France?', 'Tell me the capital of France.'],
    ['Who knows Nora Notter?', 'Who is it that knows Nora Notter?'],
    ['Is it NOT safe?', 'is it not safe'],
  ])('not in %s / %s', (one, other) => {
    expect(marks(one)).toBe(marks(other));
  });
});

const direction = (dimensions: number) =>
  fc
    .array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: dimensions, maxLength: dimensions })
    .map((values) => unit(values))
    .filter((vector) => vector !== null);

describe('vectors', () => {
  test('find what a plain search finds', () => {
    const rows = fc.array(
      fc.record({
        vector: direction(16),
        frame: fc.constantFrom('f', 'g'),
      }),
      { maxLength: 40 },
    );
    fc.assert(
      fc.property(
        rows,
        direction(16),
        fc.double({ min: 0.1, max: 1, noNaN: true }),
        (known, asked, threshold) => {
          const vectors = new Vectors(16, 100);
          known.forEach(({ vector, frame }, at) => {
            if (vectors.isFull) vectors.grow();
            vectors.add({ frame, key: `k${at}` }, vector);
          });
          const found = vectors.nearest('f', asked, threshold);
          const cosine = (vector: Float32Array) =>
            vector.reduce((sum, value, at) => sum + value * (asked[at] ?? 0), 0);
          const plain = known.filter(({ frame }) => frame === 'f').map(({ vector }) => cosine(vector));
          const best = Math.max(-1, ...plain);
          if (best > threshold + 1e-4) expect(found?.similarity).toBeCloseTo(Math.min(1, best), 4);
          if (best < threshold - 1e-4) expect(found).toBeNull();
        },
      ),
      { numRuns: 300 },
    );
  });

  const filled = (rowsMax: number, count: number) => {
    const vectors = new Vectors(4, rowsMax);
    for (let at = 0; at < count; at += 1) {
      if (vectors.isFull) vectors.grow();
      vectors.add({ frame: `f${at}`, key: `k${at}` }, some);
    }
    return vectors;
  };
  const some = unit([1, 2, 3, 4]) ?? new Float32Array();

  test('hold no more rows than they may, the newest', () => {
    const vectors = filled(70, 200);
    expect(vectors.size).toBe(70);
    expect(vectors.growthBytes).toBe(0);
    expect(vectors.nearest('f129', some, 0.9)).toBeNull();
    expect(vectors.nearest('f130', some, 0.9)?.key).toBe('k130');
    expect(vectors.nearest('f199', some, 1)?.similarity).toBeGreaterThan(0.9999);
  });

  test('give up their oldest rows, and go on in order', () => {
    const vectors = filled(40, 50); // 10 to 49
    vectors.remove('k49');
    const { bytes } = vectors;
    vectors.shrink();
    expect(vectors.bytes).toBe(bytes * 0.75);
    expect(vectors.size).toBe(30);
    expect(vectors.nearest('f18', some, 0.9)).toBeNull();
    expect(vectors.nearest('f19', some, 0.9)?.key).toBe('k19');
    vectors.add({ frame: 'new', key: 'new' }, some);
    expect(vectors.nearest('f19', some, 0.9)).toBeNull();
    for (const key of ['20', '48']) expect(vectors.nearest(`f${key}`, some, 0.9)?.key).toBe(`k${key}`);
    expect(vectors.nearest('new', some, 0.9)?.key).toBe('new');
  });

  test('take a key once, and forget it', () => {
    const vectors = new Vectors(2, 10);
    const [x, y] = [unit([1, 0]), unit([0, 1])];
    if (x === null || y === null) throw new Error('no vectors');
    vectors.add({ frame: 'f', key: 'k' }, x);
    vectors.add({ frame: 'f', key: 'k' }, y);
    expect(vectors.size).toBe(1);
    expect(vectors.nearest('f', x, 0.9)).toBeNull();
    vectors.remove('k');
    expect(vectors.nearest('f', y, 0.9)).toBeNull();
    expect(() => {
      vectors.add({ frame: 'f', key: 'k' }, new Float32Array(3));
    }).toThrow(RangeError);
  });

  test.each([[[0, 0]], [[1, 'x']], [[NaN, 1]], [[Infinity, 1]], [[]]])(
    'have no unit vector of %j',
    (values) => {
      expect(unit(values)).toBeNull();
    },
  );
});
