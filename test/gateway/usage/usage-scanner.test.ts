import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { UsageScanner } from '../../../gateway/usage/usage-scanner.ts';
import type { Usage } from '../../../domain/usage/usage.ts';

function scan(parts: readonly (string | Uint8Array)[]): Usage | null {
  const scanner = new UsageScanner();
  for (const part of parts) {
    const bytes = Buffer.from(part as string);
    scanner.push(bytes);
    bytes.fill(0x7b); // the connection reuses its memory
  }
  return scanner.usage();
}

const chat = (usage: unknown, content = 'hi'): string =>
  JSON.stringify({ id: 'x', choices: [{ message: { content } }], usage, system_fingerprint: 'fp' });
const chunk = (fields: object): string => `data: ${JSON.stringify(fields)}\n\n`;

const answers: [string, string, Usage | null][] = [
  [
    'a chat completion',
    chat({ prompt_tokens: 12, completion_tokens: 3, total_tokens: 15 }),
    { inputTokens: 12, cachedInputTokens: 0, outputTokens: 3 },
  ],
  [
    'tokens from the prefix cache, and details that it does not need',
    chat({
      prompt_tokens: 12,
      prompt_tokens_details: { cached_tokens: 8, audio_tokens: 1 },
      completion_tokens: 3,
      completion_tokens_details: { reasoning_tokens: 2, accepted_prediction_tokens: 0 },
    }),
    { inputTokens: 12, cachedInputTokens: 8, outputTokens: 3 },
  ],
  [
    'spaces where Python puts them',
    '{"choices": [], "usage" : {"prompt_tokens": 5, "completion_tokens": 6 }}',
    { inputTokens: 5, cachedInputTokens: 0, outputTokens: 6 },
  ],
  [
    'embeddings',
    JSON.stringify({ data: [{ embedding: [0.1, -2e-9] }], usage: { prompt_tokens: 7, total_tokens: 7 } }),
    { inputTokens: 7, cachedInputTokens: 0, outputTokens: 0 },
  ],
  [
    'a rerank that tells its total alone',
    '{"results":[],"usage":{"total_tokens":9}}',
    { inputTokens: 9, cachedInputTokens: 0, outputTokens: 0 },
  ],
  [
    'the responses API',
    '{"object":"response","usage":{"input_tokens":30,"input_tokens_details":{"cached_tokens":10},"output_tokens":4,"image_tokens":99}}',
    { inputTokens: 30, cachedInputTokens: 10, outputTokens: 4 },
  ],
  [
    'a stream whose last chunk tells it',
    chunk({ choices: [{ delta: { content: 'a' } }], usage: null }) +
      chunk({ choices: [], usage: { prompt_tokens: 4, completion_tokens: 2 } }) +
      'data: [DONE]\n\n',
    { inputTokens: 4, cachedInputTokens: 0, outputTokens: 2 },
  ],
  [
    'a stream that tells it with every chunk: the last counts',
    chunk({ choices: [{}], usage: { prompt_tokens: 4, completion_tokens: 1 } }) +
      chunk({ choices: [{}], usage: { prompt_tokens: 4, completion_tokens: 2 } }),
    { inputTokens: 4, cachedInputTokens: 0, outputTokens: 2 },
  ],
  [
    'an Anthropic stream: input at its begin, output at its end, caches beside the input',
    chunk({
      type: 'message_start',
      message: {
        usage: {
          input_tokens: 5,
          cache_read_input_tokens: 20,
          cache_creation_input_tokens: 3,
          output_tokens: 1,
        },
      },
    }) + chunk({ type: 'message_delta', usage: { output_tokens: 42 } }),
    { inputTokens: 28, cachedInputTokens: 20, outputTokens: 42 },
  ],
  ['an answer without usage', '{"choices":[{"message":{"content":"usage"}}]}', null],
  ['a usage that is null', '{"usage":null}', null],
  ['words of the model that look like a usage', chat(undefined, '"usage":{"prompt_tokens":1}'), null],
  ['a string that is the word', '{"kind":"usage","next":{"prompt_tokens":1}}', null],
  [
    'what the client sent, repeated before the real one',
    '{"tools":[{"parameters":{"usage":{"input_tokens":0,"input_tokens_details":{"cached_tokens":1}}}}],"usage":{"input_tokens":11,"output_tokens":2}}',
    { inputTokens: 11, cachedInputTokens: 0, outputTokens: 2 },
  ],
  [
    'whole numbers with a fraction of zeros, beside others without',
    '{"usage":{"prompt_tokens":12.0,"completion_tokens":5,"total_tokens":17.00,"prompt_tokens_details":{"cached_tokens":2.0}}}',
    { inputTokens: 12, cachedInputTokens: 2, outputTokens: 5 },
  ],
  [
    'fractions that are no counts, though they begin with a zero',
    '{"usage":{"prompt_tokens":12.05,"completion_tokens":5.0e1,"total_tokens":7.0 }}',
    { inputTokens: 7, cachedInputTokens: 0, outputTokens: 0 },
  ],
  [
    'numbers that are no counts',
    '{"usage":{"prompt_tokens":-5,"completion_tokens":1.5,"total_tokens":1e9}}',
    null,
  ],
  [
    'a count beyond all reason, bounded',
    '{"usage":{"prompt_tokens":99999999999999999999,"completion_tokens":1}}',
    { inputTokens: 1_000_000_000, cachedInputTokens: 0, outputTokens: 1 },
  ],
  ['a usage that is too long to be one', `{"usage":{"x":"${'y'.repeat(5000)}","prompt_tokens":1}}`, null],
  ['a usage that is cut', '{"usage":{"prompt_tokens":12,"completion_tokens":3', null],
];

describe('the usage scanner', () => {
  test.each(answers)('reads %s', (_name, text, expected) => {
    expect(scan([text])).toEqual(expected);
  });

  test.each(answers)('reads the same of %s when it comes byte by byte', (_name, text, expected) => {
    expect(scan([...Buffer.from(text)].map((byte) => Uint8Array.of(byte)))).toEqual(expected);
  });

  test('finds the same under every split', () => {
    const texts = answers.map(([, text]) => text);
    fc.assert(
      fc.property(
        fc.constantFrom(...texts),
        fc.string({ unit: 'grapheme' }),
        fc.array(fc.nat({ max: 6000 }), { maxLength: 8 }),
        (text, content, cuts) => {
          const bytes = Buffer.from(text.replace('"hi"', JSON.stringify(content)));
          const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
          const parts = at.slice(1).map((end, index) => bytes.subarray(at[index], end));
          expect(scan(parts)).toEqual(scan([bytes]));
        },
      ),
      { numRuns: 500 },
    );
  });

  test('is never fooled by what a model says', () => {
    fc.assert(
      fc.property(fc.string(), (words) => {
        const said = `"usage":{"prompt_tokens":777}${words}"usage": {"input_tokens":777}`;
        expect(scan([chat({ prompt_tokens: 1, completion_tokens: 2 }, said)])).toEqual({
          inputTokens: 1,
          cachedInputTokens: 0,
          outputTokens: 2,
        });
      }),
    );
  });
});
