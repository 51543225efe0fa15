import type { Load } from '../routing/pick.ts';

/**
 * Circuit breaker of one endpoint, from what its requests and health checks say. Closed: it gets requests. Open
 * (ejected): it gets none until a time. Half open: it may have a few at once, and so many good answers close it
 * again; one failure opens it for twice as long. State lies in `Load`, where pickers look: an ejection sets
 * `skipUntilMs` and `inFlightMax` at once, so that the passing of time alone half-opens it and no timer is needed.
 */
export interface OutlierRules {
  readonly consecutiveFailures: number;
  readonly failurePercent: number;
  readonly minimumRequests: number;
  readonly windowMs: number;
  readonly baseMs: number;
  readonly maxMs: number;
  readonly maxEjectedPercent: number;
  readonly probes: number;
}

export class Health {
  /** Failures in a row. */
  failures = 0;
  /** Ejections, each soon after the one before. */
  ejections = 0;
  ejectedAtMs = -Infinity;
  /** Ejections ever, for metrics. */
  ejectionsTotal = 0;
  /** Good answers since it is half open. */
  proven = 0;
  /** Mean time to the first byte, newer ones weighing more; -1: none yet. */
  firstByteMs = -1;
  samples = 0;
  /** Outcomes of this window and of the one before. */
  windowAtMs = 0;
  good = 0;
  bad = 0;
  goodBefore = 0;
  badBefore = 0;
}

export interface Watched extends Load {
  readonly health: Health;
}

export type BreakerState = 'closed' | 'open' | 'half-open';

export function breakerState(load: Load, nowMs: number): BreakerState {
  if (load.inFlightMax === Infinity) return 'closed';
  return load.skipUntilMs > nowMs ? 'open' : 'half-open';
}

/** A server answered. @param startedMs when its request began: answers from before an ejection prove nothing */
export function onGood(load: Watched, rules: OutlierRules, startedMs: number, nowMs: number): void {
  const { health } = load;
  turn(health, rules, nowMs);
  health.good += 1;
  if (load.inFlightMax === Infinity) {
    health.failures = 0;
    return;
  }
  if (startedMs < health.ejectedAtMs) return;
  health.proven += 1;
  if (health.proven >= rules.probes) close(load);
}

/**
 * A server failed.
 *
 * @param others the ready endpoints of its service, itself too: not too many of them are ejected at once
 * @returns true when it is ejected by this
 */
export function onBad(
  load: Watched,
  rules: OutlierRules,
  others: readonly Load[],
  times: { readonly startedMs: number; readonly nowMs: number },
): boolean {
  const { health } = load;
  const { nowMs } = times;
  turn(health, rules, nowMs);
  health.bad += 1;
  health.failures += 1;
  if (load.inFlightMax !== Infinity) {
    if (times.startedMs < health.ejectedAtMs || load.skipUntilMs > nowMs) return false;
    eject(load, rules, nowMs);
    return true;
  }
  if (!isSick(health, rules) || !mayEject(load, rules, others, nowMs)) return false;
  eject(load, rules, nowMs);
  return true;
}

/** A request to the endpoint has ended, in whatever way. One from before an ejection no longer takes a probe's place. */
export function onLeft(load: Watched, startedMs: number): void {
  if (load.inFlightMax !== Infinity && startedMs < load.health.ejectedAtMs) load.inFlightMax -= 1;
}

/** A health check found an ejected endpoint well: it is half open from now on. */
export function allowProbes(load: Watched, nowMs: number): void {
  if (load.skipUntilMs > nowMs) load.skipUntilMs = nowMs;
}

/** Ejects for a reason that is not a failure of one request: a health check, or its pace. @returns whether it did */
export function ejectIfAllowed(
  load: Watched,
  rules: OutlierRules,
  others: readonly Load[],
  nowMs: number,
): boolean {
  if (!mayEject(load, rules, others, nowMs)) return false;
  eject(load, rules, nowMs);
  return true;
}

function isSick(health: Health, rules: OutlierRules): boolean {
  if (rules.consecutiveFailures > 0 && health.failures >= rules.consecutiveFailures) return true;
  const bad = health.bad + health.badBefore;
  const all = bad + health.good + health.goodBefore;
  return rules.failurePercent > 0 && all >= rules.minimumRequests && bad * 100 >= rules.failurePercent * all;
}

function mayEject(load: Load, rules: OutlierRules, others: readonly Load[], nowMs: number): boolean {
  if (others.length < 2) return false; // there is nowhere else to go
  let ejected = 1;
  for (const other of others) {
    if (other !== load && breakerState(other, nowMs) !== 'closed') ejected += 1;
  }
  return ejected * 100 <= rules.maxEjectedPercent * others.length;
}

function eject(load: Watched, rules: OutlierRules, nowMs: number): void {
  const { health } = load;
  // Well for longer than the longest ejection: what was before is forgotten.
  if (nowMs - health.ejectedAtMs > rules.maxMs * 2) health.ejections = 0;
  load.skipUntilMs = nowMs + Math.min(rules.maxMs, rules.baseMs * 2 ** Math.min(health.ejections, 20));
  load.inFlightMax = load.inFlight + rules.probes;
  health.ejections += 1;
  health.ejectionsTotal += 1;
  health.ejectedAtMs = nowMs;
  health.proven = 0;
}

function close(load: Watched): void {
  const { health } = load;
  load.inFlightMax = Infinity;
  load.skipUntilMs = 0;
  health.failures = 0;
  health.good = health.bad = health.goodBefore = health.badBefore = 0;
}

/** Two half windows: what is older than a window does not count. */
function turn(health: Health, rules: OutlierRules, nowMs: number): void {
  const half = rules.windowMs / 2;
  const passed = nowMs - health.windowAtMs;
  if (passed < half) return;
  health.goodBefore = passed < rules.windowMs ? health.good : 0;
  health.badBefore = passed < rules.windowMs ? health.bad : 0;
  health.good = 0;
  health.bad = 0;
  health.windowAtMs = nowMs;
}

/** Each sample weighs a tenth: some twenty requests tell the pace of an endpoint. */
export function onFirstByte(health: Health, ms: number): void {
  health.firstByteMs = health.samples === 0 ? ms : health.firstByteMs + (ms - health.firstByteMs) / 10;
  health.samples += 1;
}

/** Endpoints that are so much slower than the median of their neighbours that they should rest. */
export function slowOnes<E extends Watched>(
  endpoints: readonly E[],
  factor: number,
  samplesMin: number,
): readonly E[] {
  if (factor <= 0) return [];
  const known = endpoints.filter(({ health }) => health.samples >= samplesMin);
  if (known.length < 3) return []; // of two, nobody knows which is the strange one
  const sorted = known.map(({ health }) => health.firstByteMs).sort((a, b) => a - b);
  const median = sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
  return known.filter(({ health }) => health.firstByteMs > median * factor);
}
