import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Observation } from '../../../domain/control/internal-api.schema.ts';
import {
  blank,
  confirm,
  debounceMs,
  look,
  repeatMs,
  spacingMs,
} from '../../../domain/inference-service/observe.ts';
import type { Memory, Wake } from '../../../domain/inference-service/observe.ts';
import type { ReplicaReport } from '../../../domain/node/report.schema.ts';

const revision = 'iris-predictor-00001';

function replica(change: Partial<ReplicaReport> = {}): ReplicaReport {
  return {
    namespace: 'default',
    name: 'iris',
    component: 'predictor',
    revision,
    index: 0,
    address: 'http://127.0.0.1:1',
    state: 'Ready',
    restarts: 0,
    since: '2026-01-01T00:00:00Z',
    ...change,
  };
}

function observation(
  replicas: readonly ReplicaReport[] = [replica()],
  service: Partial<Observation['services'][number]> = {},
  change: Partial<Observation> = {},
): Observation {
  return {
    services: [
      {
        namespace: 'default',
        name: 'iris',
        phase: 'Ready',
        transitionStatus: 'UpToDate',
        failureReason: '',
        revisions: [revision],
        ...service,
      },
    ],
    replicas: [...replicas],
    nodes: ['local'],
    runtimesVersion: 1,
    ...change,
  };
}

/** Plays observations at their times to an observer whose signals all arrive. */
function play(
  frames: readonly (readonly [number, Observation])[],
  start: Memory = blank,
): { memory: Memory; told: Wake[] } {
  let memory = start;
  const told: Wake[] = [];
  for (const [atMs, seen] of frames) {
    const looked = look(memory, seen, atMs);
    memory = looked.memory;
    for (const wake of looked.wakes) {
      memory = confirm(memory, wake, atMs);
      told.push(wake);
    }
  }
  return { memory, told };
}

const facts = (wakes: readonly Wake[]) =>
  wakes.flatMap((wake) => (wake.kind === 'replicas' ? [wake.facts] : []));
const well = observation();
const down = observation([replica({ state: 'NotReady' })]);
const gone = observation([]);

describe('what the observer tells about replicas', () => {
  test.each<{ name: string; frames: [number, Observation][]; told: object[] }>([
    {
      name: 'nothing while all is well',
      frames: [
        [0, well],
        [5_000, well],
        [90_000, well],
      ],
      told: [],
    },
    {
      name: 'a loss of readiness once it has lasted',
      frames: [
        [0, well],
        [100, down],
        [500, down],
        [100 + debounceMs, down],
        [9_000, down],
      ],
      told: [{ ready: 0, total: 1, known: true }],
    },
    {
      name: 'nothing of a change that did not last',
      frames: [
        [0, well],
        [100, down],
        [600, well],
        [9_000, well],
      ],
      told: [],
    },
    {
      name: 'that a revision is gone',
      frames: [
        [0, well],
        [100, gone],
        [2_000, gone],
      ],
      told: [{ known: false, ready: 0, total: 0 }],
    },
    {
      name: 'nothing while no node is heard of',
      frames: [
        [0, well],
        [100, observation([], {}, { nodes: [] })],
        [60_000, observation([], {}, { nodes: [] })],
      ],
      told: [],
    },
    {
      name: 'at start, only what the service does not say of itself',
      frames: [
        [0, down],
        [debounceMs, down],
      ],
      told: [{ ready: 0 }],
    },
    {
      name: 'that a degraded service is well again',
      frames: [
        [0, observation([replica()], { phase: 'Degraded' })],
        [debounceMs, observation([replica()], { phase: 'Degraded' })],
      ],
      told: [{ ready: 1, known: true }],
    },
    {
      name: 'nothing about the old revision of a failed update',
      frames: [
        [0, observation([replica()], { phase: 'Degraded', transitionStatus: 'BlockedByFailedLoad' })],
        [9_000, observation([replica()], { phase: 'Degraded', transitionStatus: 'BlockedByFailedLoad' })],
      ],
      told: [],
    },
    {
      name: 'servers on their way out as none',
      frames: [
        [0, well],
        [100, observation([replica({ state: 'Stopping' })])],
        [3_000, observation([replica({ state: 'Stopping' })])],
      ],
      told: [{ known: true, ready: 0, total: 0 }],
    },
  ])('$name', ({ frames, told }) => {
    expect(facts(play(frames).told)).toEqual(told.map((fact): unknown => expect.objectContaining(fact)));
  });

  test('takes the failure along, and does not repeat it for other last words', () => {
    const crash = (message: string) =>
      observation([
        replica({
          state: 'CrashLoopBackOff',
          failure: { reason: 'RuntimeUnhealthy', message, time: '2026-01-01T00:00:00Z' },
        }),
      ]);
    const { told } = play([
      [0, well],
      [100, crash('a')],
      [2_000, crash('a')],
      [9_000, crash('b')],
      [20_000, crash('c')],
    ]);
    expect(facts(told)).toEqual([
      expect.objectContaining({ failure: expect.objectContaining({ message: 'a' }) as unknown }),
    ]);
  });

  test('repeats what an entity has not taken in, but seldom', () => {
    const frames = Array.from({ length: 150 }, (_, second): [number, Observation] => [
      second * 1000,
      second === 0 ? well : gone,
    ]);
    expect(facts(play(frames).told)).toHaveLength(1 + Math.floor(148_000 / repeatMs));
  });

  test('tells it again when the signal could not be sent', () => {
    let { memory } = play([[0, well]]);
    for (const atMs of [100, 2_000, 2_500, 60_000]) {
      const looked = look(memory, gone, atMs);
      memory = looked.memory;
      expect(looked.wakes).toHaveLength(atMs < 100 + debounceMs ? 0 : 1);
    }
  });

  test('never tells an entity the same thing twice in a row, nor more often than the spacing, nor anything forgotten', () => {
    const states = fc.constantFrom<Observation>(
      well,
      down,
      gone,
      observation([replica(), replica({ index: 1, state: 'Starting' })]),
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 3_000 }), states), { maxLength: 40 }),
        (steps) => {
          let atMs = 0;
          let memory = blank;
          let lastAtMs = Number.NEGATIVE_INFINITY;
          for (const [gap, seen] of steps) {
            atMs += gap;
            const looked = look(memory, seen, atMs);
            memory = looked.memory;
            expect(looked.wakes.length).toBeLessThanOrEqual(1);
            for (const wake of looked.wakes) {
              expect(atMs - lastAtMs).toBeGreaterThanOrEqual(spacingMs);
              lastAtMs = atMs;
              memory = confirm(memory, wake, atMs);
            }
            expect(memory.revisions.size).toBeLessThanOrEqual(1);
          }
          // Whatever happened: once it lasts, the entity is told of it or says it already.
          const settled = play(
            [
              [atMs + 10_000, gone],
              [atMs + 20_000, gone],
            ],
            memory,
          );
          const seen = settled.memory.revisions.get(`default/iris/${revision}`);
          expect(seen?.told).toBe(seen?.signature);
        },
      ),
    );
  });
});

describe('services that no runtime fits', () => {
  const invalid = (runtimesVersion: number) =>
    observation([], { phase: 'Failed', transitionStatus: 'InvalidSpec', revisions: [] }, { runtimesVersion });
  const trying = (runtimesVersion: number) =>
    observation(
      [],
      { phase: 'Resolving', transitionStatus: 'InProgress', revisions: [] },
      { runtimesVersion },
    );
  const empty = (runtimesVersion: number) => observation([], {}, { services: [], runtimesVersion });
  const retries = (frames: [number, Observation][]) =>
    play(frames).told.filter(({ kind }) => kind === 'retry').length;

  test.each<{ name: string; frames: [number, Observation][]; times: number }>([
    {
      name: 'are tried when the runtimes change',
      frames: [
        [0, trying(1)],
        [1, invalid(1)],
        [2, invalid(2)],
        [3, invalid(2)],
      ],
      times: 1,
    },
    {
      name: 'are left alone when they do not',
      frames: [
        [0, trying(1)],
        [1, invalid(1)],
        [2, invalid(1)],
      ],
      times: 0,
    },
    {
      name: 'are tried when the change came while they were resolved',
      frames: [
        [0, trying(1)],
        [1, trying(2)],
        [2, invalid(2)],
      ],
      times: 1,
    },
    {
      name: 'are tried when they were never seen trying, and the change came between',
      frames: [
        [0, empty(1)],
        [1, invalid(2)],
      ],
      times: 1,
    },
    {
      name: 'are tried once by a new observer',
      frames: [
        [0, invalid(7)],
        [1, invalid(7)],
        [2, trying(7)],
        [3, invalid(7)],
      ],
      times: 1,
    },
  ])('$name', ({ frames, times }) => {
    expect(retries(frames)).toBe(times);
  });
});
