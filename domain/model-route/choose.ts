import type { RankedBackend } from './class-order.ts';

/**
 * Which backend of a model answers, from their order for the caller's tier and their state now. A backend whose load
 * reaches `spillAt` is passed over until its load has fallen to `returnAt`: without the gap between the two,
 * requests would swing between classes at the mark. When all are over it, the least loaded is asked, where the
 * queue decides. What is not ready is asked only when nothing else is: that wakes it.
 */
export interface BackendState {
  readonly isReady: boolean;
  /** Scaled to nothing: a call wakes it. */
  readonly isAsleep: boolean;
  /** Requests at once by what is allowed; 0 where nothing is said of it; above 1: they wait. */
  readonly load: number;
  /** Passed over for its load. */
  readonly isSpilled: boolean;
}

/** @param wasSpilled as of its last request */
export function isSpilled(wasSpilled: boolean, load: number, spillAt: number, returnAt: number): boolean {
  return wasSpilled ? load > returnAt : load >= spillAt;
}

/**
 * @param ranked best first
 * @param stateOf null: the backend is not there, or not for this request
 * @returns best first: who answers, then who may take its place; empty: there is none
 */
export function chooseBackends(
  ranked: readonly RankedBackend[],
  stateOf: (index: number) => BackendState | null,
): RankedBackend[] {
  const known: { at: RankedBackend; state: BackendState }[] = [];
  for (const at of ranked) {
    const state = stateOf(at.index);
    if (state !== null) known.push({ at, state });
  }
  const ready = known.filter(({ state }) => state.isReady);
  if (ready.length === 0) return known.slice(0, 1).map(({ at }) => at);
  return ready.sort(compare).map(({ at }) => at);
}

/**
 * The backend that would answer if it were awake: the first that has room, where that one sleeps.
 * @returns null when the best one with room is ready, or nothing sleeps
 */
export function backendToWake(
  ranked: readonly RankedBackend[],
  stateOf: (index: number) => BackendState | null,
): RankedBackend | null {
  for (const at of ranked) {
    const state = stateOf(at.index);
    if (state === null) continue;
    if (state.isReady && !state.isSpilled) return null;
    if (state.isAsleep && !state.isReady) return at;
  }
  return null;
}

interface Known {
  readonly at: RankedBackend;
  readonly state: BackendState;
}

function compare(a: Known, b: Known): number {
  if (a.state.isSpilled !== b.state.isSpilled) return a.state.isSpilled ? 1 : -1;
  const byLoad = a.state.load - b.state.load;
  const byGroup = a.at.group - b.at.group;
  return (a.state.isSpilled ? byLoad || byGroup : byGroup || byLoad) || a.at.index - b.at.index;
}
