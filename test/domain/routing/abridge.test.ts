import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { abridge } from '../../../domain/routing/abridge.ts';

const indexOf = (bytes: Uint8Array, byte: number, from: number): number => bytes.indexOf(byte, from);
const short = (text: string): string => Buffer.from(abridge(Buffer.from(text), indexOf)).toString();
const long = 'x'.repeat(600);

describe('abridge', () => {
  const table: readonly [what: string, content: string, abridged: string][] = [
    ['a long value', `{"a":"${long}","b":1}`, '{"a":"...","b":1}'],
    ['a long value alone', `"${long}"`, '"..."'],
    ['a string of 512 bytes stays', `["${'x'.repeat(512)}"]`, `["${'x'.repeat(512)}"]`],
    ['one of 513 does not', `["${'x'.repeat(513)}"]`, '["..."]'],
    ['bytes count, not characters', `["${'é'.repeat(257)}"]`, '["..."]'],
    ['an escaped quote ends nothing', `["${long}\\"${long}",1]`, '["...",1]'],
    ['a quote behind an escaped backslash does', `["${long}\\\\",1]`, '["...",1]'],
    ['three backslashes and a quote', `["${long}\\\\\\"",1]`, '["...",1]'],
    ['only quotes', `["${'\\"'.repeat(400)}",1]`, '["...",1]'],
    ['only backslashes', `["${'\\\\'.repeat(400)}",1]`, '["...",1]'],
    ['several', `["${long}","short",{"deep":["${long}"]}]`, '["...","short",{"deep":["..."]}]'],
  ];
  it.each(table)('%s', (_, content, abridged) => {
    expect(short(`{"messages":${content},"n":1}`)).toBe(`{"messages":${abridged},"n":1}`);
    expect(short(`{ "n" : 1, "prompt" : ${content} }`)).toBe(`{ "n" : 1, "prompt" : ${abridged} }`);
  });

  it.each([
    ['in other fields', `{"model":"${long}","previous_response_id":"${long}"}`],
    ['in other fields behind content', `{"messages":[{"a":1}],"model":"${long}"}`],
    ['deep in other fields', `{"metadata":{"messages":"${long}","a":[{"prompt":"${long}"}]}}`],
    ['as a name of a field', `{"${long}":1}`],
    ['behind a name that is spelled otherwise', `{"prom\\u0070t":"${long}"}`],
    ['in a list outermost', `["messages","${long}"]`],
    ['alone', `"${long}"`],
    ['where it does not end', `{"prompt":"${long}`],
    ['where it ends in a backslash', `{"prompt":"${long}\\`],
    ['of nothing', ''],
  ])('leaves everything %s', (_, document) => {
    expect(short(document)).toBe(document);
  });

  it('gives the document itself where nothing is long', () => {
    const document = Buffer.from('{"a":"b"}');
    expect(abridge(document, indexOf)).toBe(document);
  });

  it('stops looking where little is long, and keeps what it left out before', () => {
    const many = JSON.stringify(Array.from({ length: 1000 }, (_, at) => `word ${at}`));
    const text = `{"input":[${JSON.stringify(long)},${many},${JSON.stringify(long)}]}`;
    expect(short(text)).toBe(`{"input":["...",${many},${JSON.stringify(long)}]}`);
  });

  it('looks through all of a document that is mostly long strings', () => {
    const messages = Array.from({ length: 500 }, () => ({
      role: 'user',
      content: 'say it again '.repeat(50),
    }));
    expect(JSON.parse(short(JSON.stringify({ messages, model: 'm' })))).toEqual({
      messages: messages.map(() => ({ role: 'user', content: '...' })),
      model: 'm',
    });
  });

  it('leaves the meaning of any document as it is, long strings of content aside', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 3 }), texts(), fc.boolean(), (value, text, isSpaced) => {
        const content = { first: text, value, last: [text, text] };
        const other = { model: text, value, [text]: [text] };
        const document = JSON.stringify(
          { messages: content, ...other, prompt: text },
          null,
          isSpaced ? 2 : 0,
        );
        // Where the look has ended long strings are left as they are: both sides are shortened.
        const { messages, prompt, ...rest } = JSON.parse(short(document)) as Record<string, unknown>;
        expect(rest).toEqual(JSON.parse(JSON.stringify(other)));
        expect(shortened(messages)).toEqual(shortened(content));
        expect(shortened(prompt)).toEqual(shortened(text));
      }),
    );
  });

  it('leaves what is no document none, wherever it is broken outside of long strings', () => {
    const document = `{"input" : ["${long}", {"b": [1, null, "short"]}], "prompt": "${long}"}`;
    const breaks = fc.tuple(fc.nat(document.length - 1), fc.constantFrom('', '}', ',', ':', '[', 'x', '"'));
    fc.assert(
      fc.property(breaks, ([at, put]) => {
        const broken = document.slice(0, at) + put + document.slice(at + 1);
        if (isJson(broken)) return;
        const abridged = short(broken);
        expect(isJson(abridged)).toBe(false);
      }),
    );
  });
});

/** Strings around the bound, of what is written otherwise in JSON, too. */
function texts(): fc.Arbitrary<string> {
  const unit = fc.constantFrom('a', '"', '\\', '\n', 'é', '\u{1f600}', '/', ' ');
  return fc
    .tuple(fc.array(unit, { maxLength: 40 }), fc.integer({ min: 0, max: 30 }))
    .map(([units, times]) => units.join('').repeat(times));
}

/** Long strings in it as the mark, at any depth. */
function shortened(content: unknown): unknown {
  const each = (_: string, read: unknown) =>
    typeof read === 'string' && Buffer.byteLength(JSON.stringify(read)) - 2 > 512 ? '...' : read;
  return JSON.parse(JSON.stringify(content), each);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
