import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { InferenceService } from '../../../domain/inference-service/inference-service.schema.ts';
import type { ServingRevision } from '../../../domain/inference-service/messages.ts';
import {
  carry,
  decideApply,
  initialState,
  isSuperseded,
  nextAction,
  nextLookMs,
  restoreDelayMs,
  withStop,
} from '../../../domain/inference-service/reconcile.ts';
import type { Action, EntityState } from '../../../domain/inference-service/reconcile.ts';

const identity = { uid: 'u-1', creationTimestamp: '2026-01-01T00:00:00Z' };
const failure = { reason: 'ModelLoadFailed', message: 'no', time: '2026-01-01T00:00:00Z' };
const serving = { revision: 'iris-predictor-00001', ready: 1 } as unknown as ServingRevision;

function object(uri = 'file:///m', annotations?: Record<string, string>): InferenceService {
  return {
    apiVersion: 'serving.kserve.io/v1beta1',
    kind: 'InferenceService',
    metadata: { name: 'iris', namespace: 'default', ...(annotations ? { annotations } : {}) },
    spec: { predictor: { model: { modelFormat: { name: 'sklearn' }, storageUri: uri } } },
  };
}

function state(change: Partial<EntityState> = {}): EntityState {
  return { ...initialState(undefined), object: object(), generation: 1, ...change };
}

/** The state after an apply was accepted, as the workflow's handler leaves it. */
function applied(before: EntityState, next: InferenceService): EntityState {
  const decision = decideApply(before, next, identity);
  return {
    ...before,
    object: decision.object,
    generation: decision.generation,
    stopped: decision.stopped,
    retryWanted: before.retryWanted || decision.retry,
  };
}

describe('nextAction', () => {
  const done = { observedGeneration: 1, serving, routed: 'Serving' } as const;
  const rows: { name: string; change: Partial<EntityState>; action: Action }[] = [
    { name: 'rests before anything was applied', change: { object: null, generation: 0 }, action: 'rest' },
    { name: 'deploys what was applied', change: {}, action: 'deploy' },
    { name: 'rests when the newest generation serves', change: done, action: 'rest' },
    { name: 'deploys a newer generation', change: { ...done, generation: 2 }, action: 'deploy' },
    {
      name: 'rests after a failure',
      change: { observedGeneration: 1, failedGeneration: 1, failure },
      action: 'rest',
    },
    {
      name: 'tries again when asked to',
      change: { observedGeneration: 1, failedGeneration: 1, failure, retryWanted: true },
      action: 'deploy',
    },
    { name: 'stops what serves', change: { ...done, stopped: true }, action: 'stop' },
    { name: 'stops what never served', change: { stopped: true }, action: 'stop' },
    { name: 'rests when stopped', change: { stopped: true, routed: 'Stopped' }, action: 'rest' },
    {
      name: 'does not deploy a newer generation of a stopped service',
      change: { stopped: true, routed: 'Stopped', generation: 3 },
      action: 'rest',
    },
    {
      name: 'deploys a known generation when it is started again',
      change: { observedGeneration: 1, routed: 'Stopped' },
      action: 'deploy',
    },
    {
      name: 'restores what its node lost',
      change: { ...done, lost: { failures: 0, nextAtMs: 0 } },
      action: 'restore',
    },
    {
      name: 'waits before it restores again',
      change: { ...done, lost: { failures: 1, nextAtMs: 2_000 } },
      action: 'rest',
    },
    {
      name: 'prefers a newer generation over restoring',
      change: { ...done, generation: 2, lost: { failures: 0, nextAtMs: 0 } },
      action: 'deploy',
    },
    {
      name: 'removes before all else',
      change: { deleting: true, stopped: true, generation: 2 },
      action: 'remove',
    },
  ];
  test.each(rows)('$name', ({ change, action }) => {
    expect(nextAction(state(change), 1_000)).toBe(action);
  });
});

describe('decideApply', () => {
  const fresh = { ...initialState(undefined) };

  test('makes generation 1 of the first object, and fills in what the server owns', () => {
    const { generation, changed, object: made } = decideApply(fresh, object(), identity);
    expect({ generation, changed }).toEqual({ generation: 1, changed: true });
    expect(made.metadata).toMatchObject({ ...identity, generation: 1, name: 'iris', namespace: 'default' });
  });

  test('keeps what the control API filled in', () => {
    const given = object();
    given.metadata.uid = 'u-api';
    expect(decideApply(fresh, given, identity).object.metadata.uid).toBe('u-api');
    // Temporal's history was lost: no revision may get the name of one that was there before.
    expect(decideApply(fresh, given, identity, 7).generation).toBe(8);
  });

  const running = state({ ...applied(fresh, object()), observedGeneration: 1, serving, routed: 'Serving' });
  const failed = { ...running, serving: null, failure, failedGeneration: 1, routed: 'Failed' as const };
  const stop = { 'serving.kserve.io/stop': 'true' };
  test.each([
    { name: 'equal', before: running, next: object(), generation: 1, changed: false, retry: false },
    {
      name: 'another spec',
      before: running,
      next: object('file:///n'),
      generation: 2,
      changed: true,
      retry: false,
    },
    {
      name: 'another annotation',
      before: running,
      next: object('file:///m', { a: 'b' }),
      generation: 2,
      changed: true,
      retry: false,
    },
    {
      name: 'only stopped',
      before: running,
      next: object('file:///m', stop),
      generation: 1,
      changed: true,
      retry: false,
    },
    { name: 'equal, but failed', before: failed, next: object(), generation: 1, changed: true, retry: true },
    {
      name: 'failed, and now stopped',
      before: failed,
      next: object('file:///m', stop),
      generation: 1,
      changed: true,
      retry: false,
    },
    {
      name: 'changed, after a failure',
      before: failed,
      next: object('file:///n'),
      generation: 2,
      changed: true,
      retry: false,
    },
  ])('$name', ({ before, next, generation, changed, retry }) => {
    expect(decideApply(before, next, identity)).toMatchObject({ generation, changed, retry });
  });

  test('stops for every way to write true', () => {
    for (const value of ['true', 'True', 'TRUE']) {
      expect(
        decideApply(running, object('file:///m', { 'serving.kserve.io/stop': value }), identity).stopped,
      ).toBe(true);
    }
    expect(
      decideApply(running, object('file:///m', { 'serving.kserve.io/stop': 'yes' }), identity).stopped,
    ).toBe(false);
  });

  test('keeps the identity and never takes a generation back, whatever is applied', () => {
    const manifests = fc.record({
      uri: fc.constantFrom('file:///a', 'file:///b'),
      stopped: fc.boolean(),
      failed: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(manifests, { maxLength: 12 }), (applies) => {
        let now = { ...initialState(undefined) };
        for (const { uri, stopped, failed: fails } of applies) {
          const before = now.generation;
          now = applied(now, withStop(object(uri), stopped));
          expect(now.generation - before).toBeGreaterThanOrEqual(0);
          expect(now.generation - before).toBeLessThanOrEqual(1);
          expect(now.object?.metadata).toMatchObject({ uid: 'u-1', generation: now.generation });
          expect(applied(now, withStop(object(uri), stopped)).generation).toBe(now.generation);
          now = {
            ...now,
            observedGeneration: now.generation,
            failedGeneration: fails ? now.generation : null,
          };
        }
      }),
    );
  });
});

/** The entity's loop with steps that succeed or fail as `outcomes` says. */
function settle(from: EntityState, outcomes: readonly boolean[]): { state: EntityState; steps: number } {
  let now = { ...from };
  for (let steps = 0; ; steps += 1) {
    const action = nextAction(now, steps * 1e9);
    const succeeds = outcomes[steps] ?? true;
    if (action === 'rest' || action === 'remove') return { state: now, steps };
    if (action === 'stop') {
      now = { ...now, serving: null, routed: 'Stopped', lost: null, failure: null, failedGeneration: null };
      now = { ...now, retryWanted: false, observedGeneration: now.generation };
    } else if (action === 'restore') {
      now = { ...now, lost: succeeds ? null : { failures: 1, nextAtMs: steps * 1e9 + 1 } };
    } else {
      now = { ...now, observedGeneration: now.generation, retryWanted: false };
      now = succeeds
        ? { ...now, serving, routed: 'Serving', lost: null, failedGeneration: null, failure: null }
        : { ...now, failure, failedGeneration: now.generation, routed: now.serving ? now.routed : 'Failed' };
    }
  }
}

describe('the level-triggered loop', () => {
  const anyState = fc.record({
    generation: fc.integer({ min: 1, max: 5 }),
    observedGeneration: fc.integer({ min: 0, max: 5 }),
    stopped: fc.boolean(),
    deleting: fc.boolean(),
    retryWanted: fc.boolean(),
    serving: fc.constantFrom(null, serving),
    lost: fc.constantFrom(null, { failures: 0, nextAtMs: 0 }),
    failedGeneration: fc.option(fc.integer({ min: 1, max: 5 }), { nil: null }),
    routed: fc.constantFrom(null, 'Loading', 'Serving', 'Failed', 'Stopped' as const),
  });

  test('comes to rest from any state in a few steps, wherever steps fail', () => {
    fc.assert(
      fc.property(anyState, fc.array(fc.boolean(), { maxLength: 4 }), (from, outcomes) => {
        const { state: end, steps } = settle(state(from), outcomes);
        expect(steps).toBeLessThanOrEqual(6);
        if (end.deleting) return;
        expect(end.serving !== null && end.stopped).toBe(false);
        const isTried = end.stopped || end.serving !== null || end.failedGeneration === end.generation;
        expect(isTried).toBe(true);
      }),
    );
  });
});

describe('an attempt', () => {
  test.each([
    { name: 'goes on while it is the newest wish', change: {}, superseded: false },
    { name: 'is overtaken by a newer generation', change: { generation: 2 }, superseded: true },
    { name: 'is overtaken by a stop', change: { stopped: true }, superseded: true },
    { name: 'is overtaken by removal', change: { deleting: true }, superseded: true },
  ])('$name', ({ change, superseded }) => {
    expect(isSuperseded(state(change), 1)).toBe(superseded);
  });
});

describe('state carried to the next run', () => {
  test('is all that the next run needs', () => {
    const before = state({ ...applied(initialState(undefined), object()), observedGeneration: 1, serving });
    const kept = { ...before, routed: 'Serving', previousRevision: 'iris-predictor-00000' } as EntityState;
    expect(initialState(carry(kept))).toEqual(kept);
  });

  test('knows a stopped and a failed service by their routes', () => {
    expect(initialState(carry(state({ stopped: true }))).routed).toBe('Stopped');
    expect(initialState(carry(state({ failure, failedGeneration: 1 }))).routed).toBe('Failed');
  });

  test('does not exist before the first apply', () => {
    expect(() => carry(initialState(undefined))).toThrow('without an object');
  });
});

describe('waiting to restore', () => {
  test('backs off to five minutes', () => {
    expect([1, 2, 3, 20].map(restoreDelayMs)).toEqual([10_000, 20_000, 40_000, 300_000]);
  });

  test('wakes up when the next try is due, and else only for messages', () => {
    expect(nextLookMs(state(), 0)).toBeNull();
    expect(nextLookMs(state({ lost: { failures: 1, nextAtMs: 500 } }), 200)).toBe(300);
    expect(nextLookMs(state({ lost: { failures: 1, nextAtMs: 500 }, stopped: true }), 200)).toBeNull();
  });
});
