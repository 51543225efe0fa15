import { restartPolicy, type Replica } from './replica.ts';

/**
 * What a node must do next so that it runs exactly the desired replicas. Level-triggered: the same observation
 * gives the same plan, however often it is asked, and a plan that was carried out gives the empty plan.
 *
 * One index never has two processes: a start is planned only where none is running or stopping.
 */
export interface DesiredRevision {
  readonly id: string;
  readonly replicas: number;
  /** A process that is not ready for this long, at its start or later, is replaced. */
  readonly startupTimeoutMs: number;
}

export interface ObservedRevision {
  readonly id: string;
  readonly replicas: readonly Replica[];
}

export type Action =
  | { readonly kind: 'start'; readonly id: string; readonly index: number }
  | { readonly kind: 'stop'; readonly id: string; readonly index: number; readonly why: 'surplus' | 'hung' }
  /** Nothing runs and nothing is wanted: drop what is known of the index. */
  | { readonly kind: 'forget'; readonly id: string; readonly index: number };

export interface Plan {
  readonly actions: readonly Action[];
  /** When to plan again if nothing happens before; null: only when something happens. */
  readonly nextAtMs: number | null;
}

export function plan(
  desired: readonly DesiredRevision[],
  observed: readonly ObservedRevision[],
  nowMs: number,
): Plan {
  const actions: Action[] = [];
  const due: number[] = [];
  const known = new Map(observed.map((o) => [o.id, new Map(o.replicas.map((r) => [r.index, r]))]));
  const wanted = new Map(desired.map((d) => [d.id, d.replicas]));

  for (const revision of desired) {
    for (let index = 0; index < revision.replicas; index++) {
      const replica = known.get(revision.id)?.get(index);
      const step = keep(revision, replica, nowMs);
      if (step.kind === 'wait') due.push(step.untilMs);
      else if (step.kind === 'start') actions.push({ kind: 'start', id: revision.id, index });
      else if (step.kind === 'hung') actions.push({ kind: 'stop', id: revision.id, index, why: 'hung' });
    }
  }
  for (const { id, replicas } of observed) {
    for (const { index, phase } of replicas) {
      if (index < (wanted.get(id) ?? 0)) continue;
      if (phase === 'running') actions.push({ kind: 'stop', id, index, why: 'surplus' });
      if (phase === 'exited') actions.push({ kind: 'forget', id, index });
    }
  }
  return { actions, nextAtMs: due.length === 0 ? null : Math.min(...due) };
}

type Step =
  | { readonly kind: 'start' }
  | { readonly kind: 'hung' }
  | { readonly kind: 'wait'; readonly untilMs: number }
  | { readonly kind: 'nothing' };

function keep(revision: DesiredRevision, replica: Replica | undefined, nowMs: number): Step {
  if (!replica) return { kind: 'start' };
  if (replica.phase === 'exited') {
    const waitMs = replica.startAfterMs - nowMs;
    // Longer than any backoff: the clock was set back.
    if (waitMs <= 0 || waitMs > restartPolicy.maxMs) return { kind: 'start' };
    return { kind: 'wait', untilMs: replica.startAfterMs };
  }
  if (replica.phase === 'stopping' || replica.ready) return { kind: 'nothing' };
  const deadlineMs = replica.readyChangedAtMs + revision.startupTimeoutMs;
  return nowMs >= deadlineMs ? { kind: 'hung' } : { kind: 'wait', untilMs: deadlineMs };
}
