import type { ServiceRoute } from '../route-table/route-table.schema.ts';

/**
 * What a request does whose service has nothing ready. Asleep: it wakes the service and waits. Loading: it waits where
 * the service was asleep before, since a wake is what loads it; else nobody promised that it will come. Stopped and
 * Failed are a person's matter.
 */
export function mayWait(state: ServiceRoute['state'], wasAsleep: boolean): boolean {
  return state === 'Asleep' || (wasAsleep && (state === 'Loading' || state === 'Serving'));
}

/**
 * The pause before the next call to wake: the first one almost always is enough, but a control API that restarts
 * loses it, so it is said again, less and less often, as long as somebody waits. 1 s, 2 s, 4 s, at most 10 s.
 */
export function wakePauseMs(calls: number, chance: number): number {
  return Math.min(10_000, 1_000 * 2 ** Math.max(0, Math.min(calls, 10) - 1)) * (0.75 + chance / 2);
}
