import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { abridge } from '../../../domain/routing/abridge.ts';

const indexOf = (bytes: Uint8Array, byte: number, from: number): number => bytes.indexOf(byte, from);
const short = (text: string): string => Buffer.from(abridge(Buffer.from(text), indexOf)).toString();
const long = 'x'.repeat(300);

describe('abridge', () => {
  const table: readonly [what: string, document: string, abridged: string][] = [
    ['a long value', `{"a":"${long}","b":1}`, '{"a":"...","b":1}'],
    ['a long value alone', `"${long}"`, '"..."'],
    ['a long name', `{"${long}":1}`, '{"...":1}'],
    ['a string of 256 bytes stays', `["${'x'.repeat(256)}"]`, `["${'x'.repeat(256)}"]`],
    ['one of 257 does not', `["${'x'.repeat(257)}"]`, '["..."]'],
    ['bytes count, not characters', `["${'é'.repeat(129)}"]`, '["..."]'],
    ['an escaped quote ends nothing', `["${long}\\"${long}",1]`, '["...",1]'],
    ['a quote behind an escaped backslash does', `["${long}\\\\",1]`, '["...",1]'],
    ['three backslashes and a quote', `["${long}\\\\\\"",1]`, '["...",1]'],
    ['only quotes', `["${'\\"'.repeat(400)}",1]`, '["...",1]'],
    ['only backslashes', `["${'\\\\'.repeat(400)}",1]`, '["...",1]'],
    ['several', `["${long}","short","${long}"]`, '["...","short","..."]'],
    ['a string that does not end', `{"a":"${long}"`.slice(0, -1), `{"a":"${long}"`.slice(0, -1)],
    ['one behind a long one', `["${long}","${long}`, `["...","${long}`],
    ['one that ends in a backslash', `["${long}\\`, `["${long}\\`],
    ['nothing', '', ''],
  ];
  it.each(table)('%s', (_, document, abridged) => {
    expect(short(document)).toBe(abridged);
  });

  it('gives the document itself where nothing is long', () => {
    const document = Buffer.from('{"a":"b"}');
    expect(abridge(document, indexOf)).toBe(document);
  });

  it('stops looking where little is long, and keeps what it left out before', () => {
    const many = JSON.stringify(Array.from({ length: 1000 }, (_, at) => `word ${at}`));
    const text = `[${JSON.stringify(long)},${many},${JSON.stringify(long)}]`;
    expect(short(text)).toBe(`["...",${many},${JSON.stringify(long)}]`);
  });

  it('looks through all of a document that is mostly long strings', () => {
    const messages = Array.from({ length: 500 }, () => ({
      role: 'user',
      content: 'say it again '.repeat(40),
    }));
    expect(JSON.parse(short(JSON.stringify({ messages, model: 'm' })))).toEqual({
      messages: messages.map(() => ({ role: 'user', content: '...' })),
      model: 'm',
    });
  });

  it('leaves the meaning of any document as it is, long strings aside', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 3 }), texts(), fc.boolean(), (value, text, isSpaced) => {
        const document = JSON.stringify(
          { first: text, value, [text]: 1, last: [text, text] },
          null,
          isSpaced ? 2 : 0,
        );
        const all = JSON.parse(document, (_, read: unknown) => shortened(read)) as Record<string, unknown>;
        const named = Object.fromEntries(
          Object.entries(all).map(([name, read]) => [shortened(name) as string, read]),
        );
        expect(JSON.parse(short(document))).toEqual(named);
      }),
    );
  });

  it('leaves what is no document none, wherever it is broken outside of long strings', () => {
    const document = `{"a" : ["${long}", {"b": [1, null, "short"]}], "c": "${long}"}`;
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

function shortened(read: unknown): unknown {
  if (typeof read !== 'string') return read;
  return Buffer.byteLength(JSON.stringify(read)) - 2 > 256 ? '...' : read;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
