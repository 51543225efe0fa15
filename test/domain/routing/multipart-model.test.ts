import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { boundaryOf, formModel, spliceFormModel } from '../../../domain/routing/multipart-model.ts';

const type = 'multipart/form-data; boundary=b0';
const field = (name: string, value: string) =>
  `--b0\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
const file = (value: string) =>
  `--b0\r\nContent-Disposition: form-data; name="file"; filename="model"\r\nContent-Type: audio/wav\r\n\r\n${value}\r\n`;
const form = (...parts: string[]) => Buffer.from(`${parts.join('')}--b0--\r\n`, 'latin1');
/** A field whose parameters are these. */
const odd = (parameters: string) => form(field('x', 'w').replace('name="x"', parameters));

describe('the model of a form', () => {
  test.each([
    ['alone', form(field('model', 'whisper')), 'whisper'],
    ['after the file', form(file('RIFF\0\xff'), field('model', 'whisper')), 'whisper'],
    ['twice: the last counts', form(field('model', 'a'), field('model', 'b')), 'b'],
    ['empty', form(field('model', '')), ''],
    ['none', form(field('prompt', 'model')), null],
    ['a file called model is none', form(file('x')), null],
    [
      'a head inside a file is none',
      form(file('--b0 no\r\nContent-Disposition: form-data; name="model"\r\n\r\nevil')),
      null,
    ],
    [
      'another boundary inside a file is none',
      form(file(`x\r\n--b0x\r\n${field('model', 'evil').slice(6)}`)),
      null,
    ],
    [
      'with other parameters first',
      form(field('model', 'w').replace('name="model"', 'x=y; name=model')),
      'w',
    ],
    ['behind a preamble', Buffer.concat([Buffer.from('hello\r\n'), form(field('model', 'w'))]), 'w'],
    ['with blanks about the equals sign', form(field('model', 'w').replace('name=', 'name = ')), 'w'],
    ['with an escaped letter', form(field('model', 'w').replace('"model"', '"mo\\del"')), 'w'],
    ['before a last semicolon', form(field('model', 'w').replace('"model"', '"model";')), 'w'],
    ['beside an empty file name', form(field('model', 'w').replace('"model"', '"model"; filename=""')), 'w'],
    [
      'of another name',
      form(field('models', 'w').replace('name="models"', 'surname="model"; name="s"')),
      null,
    ],
    ['in words', form(field('x', '').replace('"x"', '"x; name=\\"model\\""'), file('')), null],
    ['in a file’s type', form(file('').replace('audio/wav', 'audio/wav; name="model"')), null],
  ])('%s', (_name, body, model) => {
    expect(formModel(body, type)?.model).toBe(model);
  });

  test('is doubled when two fields name it', () => {
    expect(formModel(form(field('model', 'a')), type)?.isDoubled).toBe(false);
    expect(formModel(form(field('model', 'a'), field('model', 'a')), type)?.isDoubled).toBe(true);
  });

  test.each([
    ['never ends', Buffer.from(field('model', 'w').slice(0, -2))],
    ['has no closing delimiter', Buffer.from(field('model', 'w'))],
    ['has too many parts', form(...Array<string>(1_001).fill(field('x', '')), field('model', 'w'))],
    ['has a head that is too long', form(field('x'.repeat(5_000), ''), field('model', 'w'))],
    ['has another boundary', Buffer.from('--b1--\r\n')],
    ['names a part in the extended form', odd("name*=utf-8''mod%65l")],
    ['names a part in pieces', odd('name*0="mo"; name*1="del"')],
    ['names a part twice', odd('name="x"; name="model"')],
    ['has a name behind words', odd('name="x" name="model"')],
    ['has a name that does not end', odd('name="x; name=model')],
    ['names no part', odd('x="y"')],
    ['has a folded head', odd('a=b;\r\n name="model"')],
    ['has a bare line feed in a head', odd('name="x"\nContent-Disposition: form-data; name="model"')],
    ['has two dispositions', odd('name="x"\r\nContent-Disposition: form-data; name="model"')],
    ['has a part that is no field', form(field('x', '').replace('form-data', 'attachment'))],
  ])('is not told of a form that %s: a server may read on', (_name, body) => {
    expect(formModel(body, type)).toBeNull();
  });

  test('is looked for with the boundary of the content type, quoted or not', () => {
    expect(boundaryOf('multipart/form-data; charset=x; boundary="a b"')).toBe('a b');
    expect(boundaryOf('application/json')).toBeNull();
    expect(boundaryOf('multipart/form-data')).toBeNull();
    expect(boundaryOf('multipart/form-data; boundary=a; boundary=b')).toBeNull();
  });

  test('is replaced everywhere, and every other byte stays', () => {
    const names = fc.stringMatching(/^[a-z0-9/.-]{0,20}$/);
    const other = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString('latin1'));
    fc.assert(
      fc.property(fc.array(fc.tuple(other, names), { maxLength: 4 }), names, (parts, model) => {
        const build = (name: (given: string) => string) =>
          form(...parts.map(([bytes, given]) => file(bytes) + field('model', name(given))));
        const hasBoundary = parts.some(([bytes]) => bytes.includes('--b0'));
        fc.pre(!hasBoundary);
        const spliced = spliceFormModel(
          build((given) => given),
          type,
          model,
        );
        expect(Buffer.from(spliced).equals(build(() => model))).toBe(true);
      }),
    );
  });
});
