import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { AccessPolicy } from '../../../domain/access/access-policy.schema.ts';
import type { Caller } from '../../../domain/access/caller.ts';
import { Access } from '../../../gateway/access/access.ts';
import { defaultAccessLimits } from '../../../gateway/access/access-limits.ts';
import { HeadMemo } from '../../../gateway/front/exchange.ts';
import type { Passage } from '../../../gateway/passage.ts';
import type { Flow } from '../../../gateway/step.ts';
import { newKey } from '../../fixtures/access/keys.ts';

/**
 * What is remembered is never an answer of its own: whatever tables, times and requests come in whatever order, each
 * request is judged as by a gateway that has just started and remembers nothing.
 */
const begin = Date.parse('2026-01-01T00:00:00Z');
const keys = Array.from({ length: 4 }, () => newKey());

type Move =
  | {
      readonly do: 'table';
      readonly mode: 'open' | 'required';
      readonly has: number;
      readonly scoped: number;
    }
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'ask'; readonly who: number; readonly how: number; readonly connection: number };

const move: fc.Arbitrary<Move> = fc.oneof(
  fc.record({
    do: fc.constant('table' as const),
    mode: fc.constantFrom('open' as const, 'required' as const),
    has: fc.constantFrom(15, 15, 7, 3, 14, 0),
    scoped: fc.constantFrom(0, 0, 1, 5),
  }),
  fc.record({ do: fc.constant('wait' as const), ms: fc.nat(15_000) }),
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('ask' as const),
      who: fc.constantFrom(0, 0, 0, 1, 1, 2, 3, 4, 5),
      how: fc.constantFrom(0, 0, 1, 2),
      connection: fc.nat(1),
    }),
  },
);

function policyOf({ mode, has, scoped }: Extract<Move, { do: 'table' }>): AccessPolicy {
  const held = keys.flatMap(({ record }, index) => {
    if ((has & (1 << index)) === 0) return [];
    // Two of the keys end while the test runs.
    const expiresAt = index < 2 ? new Date(begin + (index + 1) * 20_000).toISOString() : null;
    const scopes: ('infer' | 'metrics')[] = (scoped & (1 << index)) === 0 ? ['infer'] : ['metrics'];
    return [{ ...record, expiresAt, scopes }];
  });
  return AccessPolicy.parse({ mode, keys: held });
}

describe('what a gateway remembers of credentials', () => {
  test('changes nothing of what it answers', () => {
    fc.assert(
      fc.property(fc.array(move, { maxLength: 40 }), (moves) => {
        const time = { wall: begin, mono: 1_000 };
        const make = (): Access =>
          new Access({
            limits: { ...defaultAccessLimits, knownKeysMax: 2, refusedMax: 2 },
            logger: pino({ level: 'silent' }),
            registry: new Registry(),
            now: () => time.wall,
            nowMs: () => time.mono,
          });
        const old = make();
        let policy = AccessPolicy.parse({});
        const memos = new Map<string, HeadMemo>();
        for (const one of moves) {
          if (one.do === 'table') {
            policy = policyOf(one);
            old.apply(policy);
          } else if (one.do === 'wait') {
            time.wall += one.ms;
            time.mono += one.ms;
          } else {
            const headers = headersOf(one);
            const head = `${one.connection} ${JSON.stringify(headers)}`;
            const memo = memos.get(head) ?? new HeadMemo();
            memos.set(head, memo);
            const fresh = make();
            fresh.apply(policy);
            expect(judge(old, headers, memo, time.mono)).toEqual(
              judge(fresh, headers, new HeadMemo(), time.mono),
            );
          }
        }
      }),
      { numRuns: 400 },
    );
  });
});

function headersOf({ who, how }: Extract<Move, { do: 'ask' }>): Record<string, string> {
  if (who === 5) return {};
  const key = keys[who]?.key ?? 'made-up';
  if (how === 0) return { authorization: `Bearer ${key}` };
  return how === 1 ? { 'x-api-key': key } : { authorization: `bearer  ${key}` };
}

function judge(access: Access, headers: Record<string, string>, memo: HeadMemo, startedMs: number): unknown {
  const refusals: string[] = [];
  const flow = {
    refuse: (_passage: Passage, { code }: { code: string }) => refusals.push(code),
    proceed: () => refusals.push('proceeded by itself'),
    failed: (_passage: Passage, error: unknown) => refusals.push(String(error)),
  } as unknown as Flow;
  const passage = {
    caller: null as Caller | null,
    exchange: { headers, memo, peer: null, isLocal: false },
    operation: { kind: 'openai-call' },
    startedMs,
    isClosed: false,
  };
  const isIn = access.enter(passage as unknown as Passage, flow);
  return { isIn, refusals, caller: isIn ? passage.caller : null };
}
