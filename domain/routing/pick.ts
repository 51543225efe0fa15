/**
 * Which endpoint serves a try: first a target (revision) by its share of the traffic, then the endpoint with the
 * fewest requests in flight, ties by chance. Four widening circles keep a request alive: eligible endpoints not
 * yet tried; then those whose places are all taken; then those that are ejected; then even those already tried. So a
 * service whose endpoints are all ejected is still asked: a guess about health must never turn a slow service into a
 * dead one.
 */
export interface Load {
  inFlight: number;
  /** Requests that other gateways have there, as far as they said so lately; absent: not known. */
  elsewhere?: number;
  /** The endpoint refused a connection or is ejected: leave it alone until then (same clock as `nowMs`). */
  skipUntilMs: number;
  /** Requests that it may have at once: Infinity, or a few while it shows that it has recovered (half open). */
  inFlightMax: number;
  /** Requests that it takes at once by the policy (section `qos`); absent: any number. */
  places?: number;
}

/** Requests there, as far as is known. */
export function inHandOf(load: Load): number {
  return load.inFlight + (load.elsewhere ?? 0);
}

/** Neither ejected nor, half open, with all that it may have. */
export function isWell(load: Load, nowMs: number): boolean {
  return load.skipUntilMs <= nowMs && load.inFlight < load.inFlightMax;
}

/** Whether an endpoint should get a request while others can: every picker asks this one question. */
export function isEligible(load: Load, nowMs: number): boolean {
  return isWell(load, nowMs) && load.inFlight < (load.places ?? Infinity);
}

export interface Candidate<E extends Load = Load> {
  readonly address: string;
  readonly revision: string;
  /** Shared by all tables that list the address, and by all requests. */
  readonly load: E;
}

export interface PickTarget<E extends Load = Load> {
  readonly percent: number;
  readonly ready: readonly Candidate<E>[];
}

export interface PickState {
  readonly nowMs: number;
  /** Uniform in [0, 1). */
  readonly chance: () => number;
  /** Addresses that this request has tried. */
  readonly tried: readonly string[];
}

/** @returns null when no endpoint of a target with traffic is ready */
export function pick<E extends Load>(
  targets: readonly PickTarget<E>[],
  state: PickState,
): Candidate<E> | null {
  return pickBy(targets, state, leastLoaded);
}

export type Accept = (candidate: Candidate, state: PickState) => boolean;

/** Chooses among the candidates of one target that `accept` takes; at least one is. */
export type Choose<E extends Load> = (
  candidates: readonly Candidate<E>[],
  state: PickState,
  accept: Accept,
) => Candidate<E> | null;

/** The same targets and circles, with another way to choose among equals. */
export function pickBy<E extends Load>(
  targets: readonly PickTarget<E>[],
  state: PickState,
  choose: Choose<E>,
): Candidate<E> | null {
  const sole = targets.length === 1 ? targets[0] : undefined;
  if (sole?.ready.length === 1 && sole.percent > 0) return sole.ready[0] ?? null;
  return (
    pickWhere(targets, state, isFresh, choose) ??
    pickWhere(targets, state, isUntriedAndWell, choose) ??
    pickWhere(targets, state, isUntried, choose) ??
    pickWhere(targets, state, isAny, choose)
  );
}

const isFresh: Accept = (c, state) => isEligible(c.load, state.nowMs) && !state.tried.includes(c.address);
const isUntriedAndWell: Accept = (c, state) =>
  isWell(c.load, state.nowMs) && !state.tried.includes(c.address);
const isUntried: Accept = (c, state) => !state.tried.includes(c.address);
const isAny: Accept = () => true;

function pickWhere<E extends Load>(
  targets: readonly PickTarget<E>[],
  state: PickState,
  accept: Accept,
  choose: Choose<E>,
): Candidate<E> | null {
  const target = pickTarget(targets, state, accept);
  return target === null ? null : choose(target.ready, state, accept);
}

/** Shares are relative to the targets that can serve: a revision without endpoints leaves its share to the others. */
function pickTarget<E extends Load>(
  targets: readonly PickTarget<E>[],
  state: PickState,
  accept: Accept,
): PickTarget<E> | null {
  let total = 0;
  let last: PickTarget<E> | null = null;
  let eligible = 0;
  for (const target of targets) {
    if (!canServe(target, state, accept)) continue;
    total += target.percent;
    last = target;
    eligible += 1;
  }
  if (eligible <= 1) return last;
  let mark = state.chance() * total;
  for (const target of targets) {
    if (!canServe(target, state, accept)) continue;
    mark -= target.percent;
    if (mark < 0) return target;
  }
  return last;
}

function canServe(target: PickTarget, state: PickState, accept: Accept): boolean {
  if (target.percent <= 0) return false;
  for (const candidate of target.ready) if (accept(candidate, state)) return true;
  return false;
}

function leastLoaded<E extends Load>(
  candidates: readonly Candidate<E>[],
  state: PickState,
  accept: Accept,
): Candidate<E> | null {
  let least = Infinity;
  let ties = 0;
  for (const candidate of candidates) {
    const inHand = inHandOf(candidate.load);
    if (inHand > least || !accept(candidate, state)) continue;
    ties = inHand < least ? 1 : ties + 1;
    least = inHand;
  }
  let mark = ties > 1 ? Math.floor(state.chance() * ties) : 0;
  for (const candidate of candidates) {
    if (inHandOf(candidate.load) !== least || !accept(candidate, state)) continue;
    if (mark === 0) return candidate;
    mark -= 1;
  }
  return null;
}
