import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  agentPlaceholders,
  fillPlaceholders,
  unknownPlaceholder,
} from '../../../domain/serving-runtime/placeholders.ts';

const owner = {
  name: 'iris',
  namespace: 'team',
  labels: { modelDir: 'models/iris', 'a.b/c': 'x', quoted: 'say "hi"\\' },
  annotations: { note: 'n' },
};

describe('placeholders', () => {
  test.each([
    ['{{.Name}}', 'iris'],
    ['{{ .Name }}', 'iris'],
    ['{{- .Name -}}', 'iris'],
    ['--dir={{.Namespace}}/{{.Name}}', '--dir=team/iris'],
    ['{{.Labels.modelDir}}', 'models/iris'],
    ['{{ .Annotations.note }}', 'n'],
    ['{{index .Labels "a.b/c"}}', 'x'],
    ['{{.Labels.quoted}}', 'say "hi"\\'],
    ['no {single} brace', 'no {single} brace'],
  ])('%s is filled', (text, expected) => {
    expect(fillPlaceholders(text, owner)).toEqual({ ok: true, value: expected });
  });

  test.each(agentPlaceholders)('{{ .%s }} is left for the agent, in one spelling', (name) => {
    expect(fillPlaceholders(`{{ .${name} }}`, owner)).toEqual({ ok: true, value: `{{.${name}}}` });
  });

  test('every string of a container is filled, nothing else changes', () => {
    const container = {
      args: ['{{.Name}}'],
      env: [{ name: 'A', value: '{{.Namespace}}' }],
      ports: [{ containerPort: 1 }],
    };
    expect(fillPlaceholders(container, owner)).toEqual({
      ok: true,
      value: { args: ['iris'], env: [{ name: 'A', value: 'team' }], ports: [{ containerPort: 1 }] },
    });
  });

  test.each([
    ['{{.Labels.missing}}', 'asks for the label "missing", which the InferenceService does not have'],
    ['{{.Annotations.missing}}', 'asks for the annotation "missing"'],
    ['{{.Labels.constructor}}', 'asks for the label "constructor"'],
    ['{{.Spec}}', 'is not a known placeholder'],
    ['{{if .Name}}', 'is not a known placeholder'],
    ['{{}}', 'is not a known placeholder'],
  ])('%s is a problem', (text, problem) => {
    expect(fillPlaceholders({ args: [text] }, owner)).toEqual({
      ok: false,
      problem: expect.stringContaining(problem),
    });
  });

  test('a filled text is not filled again', () => {
    const tricky = { name: '{{.Namespace}}', labels: {} };
    expect(fillPlaceholders('{{.Name}}', tricky)).toEqual({ ok: true, value: '{{.Namespace}}' });
  });

  test('texts without placeholders stay as they are', () => {
    fc.assert(
      fc.property(
        fc.string().filter((text) => !text.includes('{{')),
        (text) => {
          expect(fillPlaceholders(text, owner)).toEqual({ ok: true, value: text });
        },
      ),
    );
  });
});

test('a runtime is checked for names that no service could fill', () => {
  expect(
    unknownPlaceholder({ args: ['{{.Labels.any}}', '{{.Port}}', '{{ index .Labels "x" }}'] }),
  ).toBeNull();
  expect(unknownPlaceholder({ args: ['{{.Name}}'], env: [{ value: '{{.Host}}' }] })).toBe('{{.Host}}');
});
