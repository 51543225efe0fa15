import { onBad, onFirstByte, onGood } from '../../domain/resilience/outlier.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';
import type { Endpoint } from '../upstream/endpoints.ts';
import type { UpstreamFailure } from '../upstream/upstream.ts';
import type { Guard } from './guards.ts';
import type { Try } from './try.ts';

/** Whose try it was. */
export interface Witness {
  readonly guard: Guard;
  readonly service: RoutedService<Endpoint>;
}

/** A server answered. */
export function learn(one: Try, status: number, witness: Witness, nowMs: number): void {
  const { guard } = witness;
  const { load } = one.candidate;
  const { outlier, hedge } = guard.settings;
  const ms = nowMs - one.startedMs;
  onFirstByte(load.health, ms);
  if (hedge.after === 'p95') guard.firstBytes.add(ms);
  if (status >= 400 && outlier.statuses.includes(status)) mark(one, witness, nowMs);
  else onGood(load, outlier, one.startedMs, nowMs);
}

/** A server failed. @param now skipMs: how long one that refused is left alone */
export function blame(
  one: Try,
  failure: UpstreamFailure,
  witness: Witness,
  now: { readonly nowMs: number; readonly skipMs: number },
): void {
  if (failure.isStale === true) return; // the connection was old, the server need not be ill
  const { load } = one.candidate;
  // First: a server that is to be left alone would count as ejected already, and not be ejected anew.
  mark(one, witness, now.nowMs);
  if (failure.kind === 'refused') load.skipUntilMs = Math.max(load.skipUntilMs, now.nowMs + now.skipMs);
}

function mark(one: Try, { guard, service }: Witness, nowMs: number): void {
  const others = service.targets.flatMap(({ ready }) => ready.map(({ load }) => load));
  onBad(one.candidate.load, guard.settings.outlier, others, { startedMs: one.startedMs, nowMs });
}
