import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { canonicalJson } from '../../../domain/cache/canonical.ts';

const canonical = (text: string, ignored?: ReadonlySet<string>): string => {
  const found = canonicalJson(text, ignored);
  if (found.kind === 'refused') throw new Error(found.reason);
  return found.text;
};

/** The same document written by another hand: members in another order, spaces, escapes. */
function rewritten(value: unknown, random: () => number): string {
  const space = () => ['', ' ', '\n', '\t \r\n'][Math.floor(random() * 4)] ?? '';
  if (typeof value === 'string') return respelled(value, random);
  if (Array.isArray(value))
    return `[${space()}${value.map((item) => rewritten(item, random)).join(`${space()},${space()}`)}${space()}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value)
    .map((member) => ({ member, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(
      ({ member: [name, item] }) =>
        `${respelled(name, random)}${space()}:${space()}${rewritten(item, random)}`,
    );
  return `{${space()}${members.join(`${space()},${space()}`)}${space()}}`;
}

function respelled(text: string, random: () => number): string {
  let out = '"';
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charAt(at);
    const isEscaped = random() < 0.2;
    const code = text.charCodeAt(at).toString(16).padStart(4, '0');
    out += isEscaped ? `\\u${random() < 0.5 ? code : code.toUpperCase()}` : JSON.stringify(unit).slice(1, -1);
  }
  return `${out}"`;
}

function randomFrom(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) ^ (state << 7);
    return (state >>> 0) / 2 ** 32;
  };
}

const document = fc.jsonValue({ maxDepth: 5, stringUnit: 'binary' });

describe('canonical JSON', () => {
  test('is one text for all ways to write a document', () => {
    fc.assert(
      fc.property(document, fc.integer(), (value, seed) => {
        const text = JSON.stringify(value);
        expect(canonical(rewritten(JSON.parse(text), randomFrom(seed)))).toBe(canonical(text));
      }),
      { numRuns: 500 },
    );
  });

  test('says what the document says', () => {
    fc.assert(
      fc.property(document, (value) => {
        const text = JSON.stringify(value);
        expect(JSON.parse(canonical(text))).toEqual(JSON.parse(text));
      }),
      { numRuns: 500 },
    );
  });

  test('is another text for another document', () => {
    fc.assert(
      fc.property(document, document, (one, other) => {
        const [a, b] = [JSON.stringify(one), JSON.stringify(other)];
        // Sorted by JSON.stringify's own order of names, which is not ours: an independent way to compare.
        const same = JSON.stringify(ordered(JSON.parse(a))) === JSON.stringify(ordered(JSON.parse(b)));
        expect(canonical(a) === canonical(b)).toBe(same);
      }),
      { numRuns: 500 },
    );
  });

  test.each([
    ['integers beyond 2^53', '9007199254740993', '9007199254740992'],
    ['digits of a fraction', '0.1', '0.10000000000000001'],
    ['ways to write a number', '1', '1.0'],
    ['a number and a text', '1', '"1"'],
    ['null and a text', 'null', '"null"'],
    ['an empty list and an empty object', '[]', '{}'],
    ['lists in another order', '[1,2]', '[2,1]'],
    ['a text and its escaped bytes', '"é"', '"\\u00c3\\u00a9"'],
    ['composed and decomposed letters', '"\u00e9"', '"e\u0301"'],
    ['halves of a pair', '"\\ud83d"', '"\\ude00"'],
    ['one text and two', '["a,b"]', '["a","b"]'],
    ['a quote in a text', '["a\\",\\"b"]', '["a","b"]'],
    ['nesting', '[[1],2]', '[1,[2]]'],
  ])('keeps apart %s', (_what, one, other) => {
    expect(canonical(one)).not.toBe(canonical(other));
    expect(canonical(`{"a":${one}}`)).not.toBe(canonical(`{"a":${other}}`));
  });

  test.each([
    ['{"a":1,"a":1}', 'duplicate_key'],
    ['{"a":1,"\\u0061":2}', 'duplicate_key'],
    ['{"b":0,"a":[{"x":1,"y":2,"x":3}]}', 'duplicate_key'],
    ['{"stream":true,"stream":false}', 'duplicate_key'],
    ['['.repeat(101) + ']'.repeat(101), 'too_deep'],
    ['{"a":'.repeat(200) + '1' + '}'.repeat(200), 'too_deep'],
    ['', 'not_json'],
    ['{"a":1', 'not_json'],
    ['{"a" 1}', 'not_json'],
    ['{a:1}', 'not_json'],
    ['[1,]', 'not_json'],
    ['[1 2]', 'not_json'],
    ['1 2', 'not_json'],
    ['{"a":01}', 'not_json'],
    ['{"a":tru}', 'not_json'],
    ['"abc', 'not_json'],
    ['"abc\\"', 'not_json'],
    ['"\\u12"', 'not_json'],
  ])('refuses %s as %s', (text, reason) => {
    expect(canonicalJson(text, new Set(['"stream"']))).toEqual({ kind: 'refused', reason });
  });

  test('takes whatever JSON.parse takes, but for doubled and deep ones', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...Array.from('{}[]",:\\ \n01e-.tfnu"a')) }), (text) => {
        let isJson = true;
        try {
          JSON.parse(text);
        } catch {
          isJson = false;
        }
        const found = canonicalJson(text);
        if (isJson) expect(found.kind === 'canonical' || found.reason === 'duplicate_key').toBe(true);
        else if (found.kind === 'canonical') expect(() => JSON.parse(found.text) as unknown).toThrow();
      }),
      { numRuns: 2_000 },
    );
  });

  test('leaves out what does not count, at the top alone', () => {
    const ignored = new Set(['"stream"', '"user"']);
    expect(canonical('{"stream":true,"a":{"user":1},"user":"x"}', ignored)).toBe('{"a":{"user":1}}');
  });
});

function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return { members: members.map(([name, item]) => [name, ordered(item)]) }; // lists and objects stay apart
}
