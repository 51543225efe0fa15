import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { startRawBackend } from '../../fixtures/gateway/backends.ts';
import type { RawBackend } from '../../fixtures/gateway/backends.ts';
import { postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';
import { hear, isWholeRequest, prompt, said, streamedAnswer } from '../../fixtures/resilience/stand-in.ts';

/** What a server does with one request. */
interface Mood {
  /** Bytes of its answer that it gives. */
  readonly gives: number;
  readonly ends: 'resets' | 'closes' | 'spoils';
  /** Sizes of its writes, in turn. */
  readonly sizes: readonly number[];
}

const mood = fc.record({
  gives: fc.oneof(fc.constant(100_000), fc.nat(2600)),
  ends: fc.constantFrom('resets' as const, 'closes' as const, 'spoils' as const),
  sizes: fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 5 }),
});

describe('servers in all moods', () => {
  let gateway: TestGateway;
  let backends: RawBackend[] = [];
  let moods: Mood[] = [];
  beforeAll(async () => {
    gateway = await startTestGateway({ bodyIdleMs: 500, headersMs: 500 });
    backends = await Promise.all(
      [0, 1, 2, 3].map((at) =>
        startRawBackend((socket, received) => {
          if (!isWholeRequest(received)) return;
          const { gives, ends, sizes } = moods.shift() ?? {
            gives: 100_000,
            ends: 'closes' as const,
            sizes: [300],
          };
          const answer = streamedAnswer(received, `id-${String(at)}`).subarray(0, gives);
          let [from, turn] = [0, 0];
          const more = (): void => {
            const to = from + (sizes[turn % sizes.length] ?? 1);
            turn += 1;
            if (from < answer.length) socket.write(answer.subarray(from, to), () => setImmediate(more));
            else if (ends === 'resets') socket.resetAndDestroy();
            else if (ends === 'closes') socket.end();
            else socket.end('\0\0garbage'); // no line ends: within a chunk they would be a server's own words
            from = to;
          };
          more();
        }),
      ),
    );
    const ready = backends.map(({ address }) => address);
    const all = {
      midStream: { mode: 'continue' as const, continuationsMax: 3 },
      retry: { budgetPerSecond: 10_000 },
      outlier: { consecutiveFailures: 0, failurePercent: 0 },
    };
    gateway.store.apply({ ...table([service('m', { ready })], 1), policy: { resilience: { all } } }, -1);
  });
  afterAll(async () => {
    await gateway.close();
    for (const backend of backends) await backend.close();
  });

  test('give the client the whole text once, or a beginning of it and a word of what went wrong', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(mood, { maxLength: 4 }), async (given) => {
        moods = [...given];
        const { status, text } = await postJson(`${gateway.url}/v1/completions`, {
          model: 'm',
          prompt,
          stream: true,
          stream_options: { include_usage: true },
        });
        if (status !== 200) {
          expect([502, 503, 504]).toContain(status);
          expect(JSON.parse(text)).toMatchObject({ error: { message: expect.any(String) as unknown } });
          return;
        }
        const heard = hear(text);
        expect(heard.dones + heard.errors).toBe(1);
        expect(said.startsWith(heard.text)).toBe(true);
        expect(heard.ids.size).toBeLessThanOrEqual(1);
        if (heard.errors === 1) return;
        expect(heard).toMatchObject({ text: said, finishes: ['stop'] });
        expect(heard.usage?.['prompt_tokens']).toBe(5);
      }),
      { numRuns: 150 },
    );
  }, 120_000);
});
