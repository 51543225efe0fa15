import { describe, expect, test } from '@jest/globals';
import { breakerState } from '../../../domain/resilience/outlier.ts';
import { defaultSettings } from '../../../domain/resilience/settings.ts';
import { compileRoutes } from '../../../domain/routing/routes.ts';
import { Guard } from '../../../gateway/forward/guards.ts';
import { Try } from '../../../gateway/forward/try.ts';
import type { TryOwner } from '../../../gateway/forward/try.ts';
import { blame } from '../../../gateway/forward/verdicts.ts';
import { Endpoints } from '../../../gateway/upstream/endpoints.ts';
import type { Upstream, UpstreamFailure } from '../../../gateway/upstream/upstream.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';

const { outlier } = defaultSettings;
const refused: UpstreamFailure = { kind: 'refused', code: 'ECONNREFUSED', message: '' };
const upstream: Upstream = {
  send: () => ({ abort: () => undefined, pause: () => undefined, resume: () => undefined }),
  close: () => undefined,
};
const owner: TryOwner = { onHead: () => undefined, onEnd: () => undefined, onFailure: () => undefined };

describe('a server that refuses connections', () => {
  const endpoints = () => new Endpoints(() => upstream);
  /** A service of two, the first of which refuses at each of these times. */
  const refusing = () => {
    const bound = endpoints();
    const { byKey } = compileRoutes(
      table([service('m', { ready: ['http://a:1', 'http://b:1'] })]),
      (address) => bound.bind(address),
    );
    const of = byKey.get('default/m')!;
    const candidate = of.endpoints[0]!;
    const witness = { guard: new Guard(defaultSettings, [], 0), service: of };
    const refuse = (nowMs: number) => {
      blame(new Try(owner, bound, candidate, nowMs), refused, witness, { nowMs, skipMs: 1_000 });
    };
    return { load: candidate.load, refuse };
  };

  test('is left alone for a moment, and ejected when it refuses again and again', () => {
    const { load, refuse } = refusing();
    refuse(0);
    expect([load.skipUntilMs, breakerState(load, 0)]).toEqual([1_000, 'closed']);
    for (let count = 1; count < outlier.consecutiveFailures; count += 1) refuse(0);
    expect([load.skipUntilMs, breakerState(load, 0)]).toEqual([outlier.baseMs, 'open']);
  });

  test('also as its probe rests twice as long each time', () => {
    const { load, refuse } = refusing();
    for (let count = 0; count < outlier.consecutiveFailures; count += 1) refuse(0);
    const rests: number[] = [];
    for (let count = 0; count < 3; count += 1) {
      const nowMs = load.skipUntilMs;
      refuse(nowMs);
      rests.push(load.skipUntilMs - nowMs);
    }
    expect(rests).toEqual([2 * outlier.baseMs, 4 * outlier.baseMs, 8 * outlier.baseMs]);
    expect(load.health.ejectionsTotal).toBe(4);
  });
});
