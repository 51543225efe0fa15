import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { plan, type DesiredRevision } from '../../../domain/node/plan.ts';
import { exited, probed, started, stateOf, stopping, type Replica } from '../../../domain/node/replica.ts';

const desired = (replicas: number, id = 'r'): DesiredRevision => ({ id, replicas, startupTimeoutMs: 60_000 });
const ready = (index: number): Replica => probed(started(index, undefined, 0), true, 3, 0);

describe('plan', () => {
  test('starts what is missing and is empty once it runs', () => {
    expect(plan([desired(2)], [], 0).actions).toEqual([
      { kind: 'start', id: 'r', index: 0 },
      { kind: 'start', id: 'r', index: 1 },
    ]);
    expect(plan([desired(2)], [{ id: 'r', replicas: [ready(0), ready(1)] }], 5)).toEqual({
      actions: [],
      nextAtMs: null,
    });
  });

  test('stops the highest indexes first, and what nobody wants', () => {
    const observed = [
      { id: 'r', replicas: [ready(0), ready(1)] },
      { id: 'old', replicas: [ready(0)] },
    ];
    expect(plan([desired(1)], observed, 0).actions).toEqual([
      { kind: 'stop', id: 'r', index: 1, why: 'surplus' },
      { kind: 'stop', id: 'old', index: 0, why: 'surplus' },
    ]);
  });

  test('waits for the end of a process before it starts another for the same index', () => {
    const ending = stopping(ready(0), false);
    expect(plan([desired(1)], [{ id: 'r', replicas: [ending] }], 0).actions).toEqual([]);
    const gone = exited(ending, undefined, 0);
    expect(plan([desired(1)], [{ id: 'r', replicas: [gone] }], 0).actions).toEqual([
      { kind: 'start', id: 'r', index: 0 },
    ]);
  });

  test('waits out the backoff of a crash and says when to look again', () => {
    const crashed = exited(started(0, undefined, 0), undefined, 100);
    const observed = [{ id: 'r', replicas: [crashed] }];
    expect(plan([desired(1)], observed, 100)).toEqual({ actions: [], nextAtMs: 1_100 });
    expect(plan([desired(1)], observed, 1_100).actions).toHaveLength(1);
    // The clock was set back by a day.
    expect(plan([desired(1)], observed, -86_400_000).actions).toHaveLength(1);
  });

  test('replaces a process that does not become ready in time, and only that', () => {
    const observed = [{ id: 'r', replicas: [started(0, undefined, 0), ready(1)] }];
    expect(plan([desired(2)], observed, 59_999)).toEqual({ actions: [], nextAtMs: 60_000 });
    expect(plan([desired(2)], observed, 60_000).actions).toEqual([
      { kind: 'stop', id: 'r', index: 0, why: 'hung' },
    ]);
  });

  test('forgets an index that is neither wanted nor running', () => {
    const gone = exited(started(0, undefined, 0), undefined, 0);
    expect(plan([], [{ id: 'r', replicas: [gone] }], 0).actions).toEqual([
      { kind: 'forget', id: 'r', index: 0 },
    ]);
  });
});

/** A node that carries plans out, with processes that crash, hang and answer as chance has it. */
class Node {
  nowMs = 0;
  starts = 0;
  wanted = new Map<string, number>();
  readonly replicas = new Map<string, Map<number, Replica>>();
  readonly processes = new Map<string, number>();

  step(): number {
    const desiredNow = [...this.wanted].map(([id, replicas]) => ({ id, replicas, startupTimeoutMs: 60_000 }));
    const observed = [...this.replicas].map(([id, known]) => ({ id, replicas: [...known.values()] }));
    const { actions } = plan(desiredNow, observed, this.nowMs);
    for (const action of actions) {
      const known = this.replicas.get(action.id) ?? new Map<number, Replica>();
      this.replicas.set(action.id, known);
      const key = `${action.id}/${action.index}`;
      const replica = known.get(action.index);
      if (action.kind === 'start') {
        this.starts += 1;
        this.processes.set(key, (this.processes.get(key) ?? 0) + 1);
        known.set(action.index, started(action.index, replica, this.nowMs));
      } else if (action.kind === 'stop') known.set(action.index, stopping(replica!, action.why === 'hung'));
      else known.delete(action.index);
    }
    return actions.length;
  }

  each(change: (replica: Replica, key: string) => Replica): void {
    for (const [id, known] of this.replicas) {
      for (const [index, replica] of known) known.set(index, change(replica, `${id}/${index}`));
    }
  }

  end(key: string): void {
    this.processes.set(key, (this.processes.get(key) ?? 0) - 1);
  }
}

type Happening =
  | { readonly kind: 'want'; readonly id: string; readonly replicas: number }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'crash' | 'answer' | 'fail' | 'end' };

const happenings: fc.Arbitrary<Happening> = fc.oneof(
  fc.record({
    kind: fc.constant('want' as const),
    id: fc.constantFrom('a', 'b'),
    replicas: fc.nat({ max: 3 }),
  }),
  fc.record({ kind: fc.constant('wait' as const), ms: fc.nat({ max: 400_000 }) }),
  fc.record({ kind: fc.constantFrom('crash' as const, 'answer' as const, 'fail' as const, 'end' as const) }),
);

function apply(node: Node, happening: Happening): void {
  if (happening.kind === 'want') node.wanted.set(happening.id, happening.replicas);
  else if (happening.kind === 'wait') node.nowMs += happening.ms;
  else {
    node.each((replica, key) => {
      const isOver =
        (happening.kind === 'crash' && replica.phase !== 'exited') ||
        (happening.kind === 'end' && replica.phase === 'stopping');
      if (isOver) {
        node.end(key);
        return exited(replica, undefined, node.nowMs);
      }
      return happening.kind === 'answer' || happening.kind === 'fail'
        ? probed(replica, happening.kind === 'answer', 3, node.nowMs)
        : replica;
    });
  }
}

describe('plans carried out', () => {
  test('never give one index two processes, whatever happens', () => {
    fc.assert(
      fc.property(fc.array(happenings, { maxLength: 60 }), (history) => {
        const node = new Node();
        for (const happening of history) {
          apply(node, happening);
          node.step();
          for (const count of node.processes.values()) expect([0, 1]).toContain(count);
          // The plan was carried out, so there is nothing more to do now.
          expect(node.step()).toBe(0);
        }
      }),
    );
  });

  test('come to exactly what is wanted once nothing crashes any more', () => {
    fc.assert(
      fc.property(fc.array(happenings, { maxLength: 40 }), (history) => {
        const node = new Node();
        for (const happening of history) {
          apply(node, happening);
          node.step();
        }
        for (let round = 0; round < 5; round++) {
          for (const kind of ['end', 'answer'] as const) apply(node, { kind });
          apply(node, { kind: 'wait', ms: 300_000 });
          apply(node, { kind: 'answer' });
          node.step();
        }
        apply(node, { kind: 'answer' });
        const running = [...node.replicas].flatMap(([id, known]) =>
          [...known.values()].map((r) => `${id}/${r.index} ${stateOf(r)}`),
        );
        const wanted = [...node.wanted].flatMap(([id, replicas]) =>
          Array.from({ length: replicas }, (_, index) => `${id}/${index} Ready`),
        );
        expect(running.sort()).toEqual(wanted.sort());
      }),
    );
  });

  test('start a process that always crashes a bounded number of times', () => {
    const node = new Node();
    node.wanted.set('a', 1);
    for (; node.nowMs < 3_600_000; node.nowMs += 500) {
      node.step();
      apply(node, { kind: 'crash' });
    }
    // 1 + 2 + 4 + … + 256 s, then one each 5 minutes.
    expect(node.starts).toBeLessThanOrEqual(22);
    expect(node.starts).toBeGreaterThanOrEqual(18);
  });
});
