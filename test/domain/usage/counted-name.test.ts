import { describe, expect, test } from '@jest/globals';
import { countedName } from '../../../domain/usage/counted-name.ts';

describe('the name that counts', () => {
  test.each([
    ['a model of the service', 'chat', ['chat', 'other'], 'chat'],
    ['another model of the service', 'other', ['chat', 'other'], 'other'],
    ['a model with its namespace', 'default/other', ['chat', 'other'], 'other'],
    ['a model whose own name has a slash', 'default/chat', ['chat', 'default/chat'], 'default/chat'],
    ['a model of a maker', 'acme/chat', ['acme/chat'], 'acme/chat'],
    ['the service by its own name', 'llm', ['chat', 'other'], 'chat'],
    ['the service by its own name with its namespace', 'default/llm', ['chat', 'other'], 'chat'],
    ['a component of the service', 'default/llm-predictor', ['chat'], 'chat'],
    ['a service without models', 'default/llm', [], 'llm'],
  ])('of %s', (_what, model, models, expected) => {
    expect(countedName({ namespace: 'default', name: 'llm', models }, model)).toBe(expected);
  });
});
