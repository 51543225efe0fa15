import { describe, expect, test } from '@jest/globals';
import { anonymous } from '../../../domain/access/caller.ts';
import { matches } from '../../../domain/budget/match.ts';

describe('a budget of a model', () => {
  const spender = { caller: anonymous, namespace: 'default', model: 'chat', service: 'llm' };

  test.each([
    ['the name under which it counts', 'chat', true],
    ['that name with its namespace', 'default/chat', true],
    ['that name with another namespace', 'other/chat', false],
    ["its service's own name", 'llm', true],
    ["its service's own name with its namespace", 'default/llm', true],
    ["its service's own name with another namespace", 'other/llm', false],
    ['another model', 'chat-2', false],
    ['its service as if it were a namespace', 'llm/chat', false],
  ])('that says %s', (_what, model, expected) => {
    expect(matches({ model }, spender)).toBe(expected);
  });

  test('counts by the name of the model alone where no service is known', () => {
    const { service: _service, ...alone } = spender;
    expect(matches({ model: 'llm' }, alone)).toBe(false);
    expect(matches({ model: 'chat' }, alone)).toBe(true);
  });
});
