import { retryRules } from '../../domain/resilience/settings.ts';
import type { Candidate } from '../../domain/routing/pick.ts';
import { mayRepeat, retryDelayMs } from '../../domain/routing/retry.ts';
import type { FailedTry } from '../../domain/routing/retry.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';
import type { Refusal } from '../errors.ts';
import type { Passage } from '../passage.ts';
import { boundTo } from '../pick/bound.ts';
import { planFor } from '../plan.ts';
import type { Endpoint } from '../upstream/endpoints.ts';
import type { ForwardDeps } from './forward-deps.ts';
import type { ForwardPlan } from './forward-plan.ts';
import type { Guard } from './guards.ts';
import { hedgeDelayMs } from './hedge.ts';
import { chargeOf, putBack } from './prompt-charge.ts';
import { notReady } from './refusals.ts';
import { setHeader } from './response-headers.ts';
import { StandIns } from './stand-ins.ts';
import { Tries } from './tries.ts';
import type { Untried } from './tries.ts';
import { sharedHeaders, withAuthorization } from './try-headers.ts';
import { Try } from './try.ts';
import type { TryOwner } from './try.ts';
import type { Witness } from './verdicts.ts';

type Service = RoutedService<Endpoint>;

/** Whose request it is, and who hears of its tries. */
export interface DispatchOwner extends TryOwner {
  /** Nothing more is to be sent. */
  readonly isOver: boolean;
  /** A server's answer is on its way to the client. */
  readonly isAnswering: boolean;
  /** That the request may take. */
  readonly totalMs: number;
  refuse(refusal: Refusal): void;
}

/**
 * Sends the tries of one request: to which endpoint, again after a failure and how soon, a second one beside a slow
 * first, and to the services that stand in. Each try picks from the table of that moment, so a replacement under way
 * is followed.
 */
export class Dispatch implements Witness {
  /** That is asked now. */
  service: Service;
  guard: Guard;
  plan: ForwardPlan;
  readonly tries: Tries;
  /** Tries that were sent and broke: its owner counts them. */
  brokenTries = 0;
  private readonly deps: ForwardDeps;
  private readonly passage: Passage;
  private readonly owner: DispatchOwner;
  private readonly headers: string[];
  private firstFailureMs = -1;
  /** From the first failure on. */
  private standIns: StandIns | null = null;
  private backoff: NodeJS.Timeout | undefined;
  private hedging: NodeJS.Timeout | undefined;

  constructor(
    deps: ForwardDeps,
    passage: Passage,
    to: { readonly service: Service; readonly plan: ForwardPlan },
    owner: DispatchOwner,
  ) {
    this.deps = deps;
    this.passage = passage;
    this.owner = owner;
    this.tries = new Tries(passage);
    this.service = to.service;
    this.guard = deps.guards.of(to.service);
    this.plan = to.plan;
    this.headers = ['x-request-id', passage.upstreamId ?? passage.requestId];
  }

  /** The service as the table of now has it. */
  follow(): Service {
    this.service = this.deps.routes()?.byKey.get(this.service.key) ?? this.service;
    return this.service;
  }

  begin(): void {
    const { guard, passage } = this;
    const mayFallBack = passage.alternatives.length > 0 || guard.fallbacks.length > 0;
    if (mayFallBack && !this.hasUntried()) this.fallBack();
    this.try();
    if (!this.owner.isOver) this.planHedge();
  }

  /** No second server is asked any more. */
  stopHedging(): void {
    clearTimeout(this.hedging);
  }

  stop(): void {
    clearTimeout(this.backoff);
    clearTimeout(this.hedging);
  }

  /** A try failed: here again, or by a service that stands in. @returns false when neither may be */
  repeat(what: Pick<FailedTry, 'kind' | 'wasSent' | 'retryAfterMs'>): boolean {
    const { guard, deps } = this;
    const now = deps.nowMs();
    const failed = this.failedTry(what, now);
    const rules = retryRules(guard.settings.retry, deps.limits);
    // A service that stands in is asked before an endpoint is asked twice; that is no storm, so it costs no budget.
    const mayStandIn = mayRepeat({ ...failed, hasOther: true }, rules);
    if (!failed.hasOther && mayStandIn && this.fallBack()) return this.tryAfter(0);
    const delay = retryDelayMs(failed, rules, deps.chance);
    if (delay !== null && (!failed.wasSent || guard.retries.spend(now))) return this.tryAfter(delay);
    return mayStandIn && this.fallBack() && this.tryAfter(0);
  }

  /** Asks for what this plan says. */
  send(candidate: Candidate<Endpoint>, plan: ForwardPlan, now: number): Try {
    const { deps, passage, owner } = this;
    const { limits } = deps;
    const { perTryMs } = this.guard.settings.retry;
    passage.candidate = candidate;
    passage.tries += 1;
    this.tries.asked.push(candidate.address);
    const one = new Try(owner, deps.endpoints, candidate, now);
    one.send({
      method: passage.exchange.method,
      path: plan.path,
      common: sharedHeaders(passage),
      headers: withAuthorization(this.headers, passage, this.service),
      body: plan.body,
      headersMs: Math.min(owner.totalMs, perTryMs ?? Infinity, limits.headersMs),
      bodyIdleMs: limits.bodyIdleMs,
    });
    return one;
  }

  /** @returns null when none is ready */
  pick(now: number): Candidate<Endpoint> | null {
    return this.deps.picker.pick(this.passage, this.service, this.tries.asked, now);
  }

  hasUntried(which: Untried = 'eligible'): boolean {
    return this.tries.hasUntried(this.service, this.deps.nowMs(), which);
  }

  private failedTry(what: Pick<FailedTry, 'kind' | 'wasSent' | 'retryAfterMs'>, now: number): FailedTry {
    if (this.firstFailureMs < 0) this.firstFailureMs = now;
    return {
      ...what,
      tries: this.passage.tries,
      brokenTries: this.brokenTries,
      elapsedMs: now - this.firstFailureMs,
      isRepeatable: this.plan.isRepeatable,
      // The request has its place at the service, whichever server answers it.
      hasOther: this.hasUntried('well'),
    };
  }

  private tryAfter(delay: number): true {
    const next = () => {
      if (this.owner.isOver) return;
      this.deps.onRetry(this.service);
      this.try();
    };
    if (delay === 0) setImmediate(next);
    else this.backoff = setTimeout(next, delay);
    return true;
  }

  private try(): void {
    const { deps, passage } = this;
    if (passage.tries > 0) this.follow();
    if (passage.entry === null) passage.service = this.service;
    const now = deps.nowMs();
    const candidate = this.pick(now);
    if (candidate !== null) this.tries.current = this.send(candidate, this.plan, now);
    else if (this.fallBack()) this.try();
    else this.owner.refuse(notReady(this.service, passage.model));
  }

  /** Takes the next service that can answer in the place of this one. */
  private fallBack(): boolean {
    const { passage, deps, guard } = this;
    // A chain belongs to its service, a stored response to its server.
    if (passage.entry !== null || boundTo(passage, this.service) !== null) return false;
    this.standIns ??= new StandIns(passage, guard.fallbacks, deps.routes());
    const next = this.standIns.next(passage, this.service);
    if (next === null) return false;
    guard.fallenBack += 1;
    this.service = next;
    this.guard = deps.guards.of(next);
    this.plan = planFor(passage, next);
    this.tries.asked.length = 0;
    passage.service = next;
    setHeader(passage, 'x-muster-fallback', next.key);
    return true;
  }

  private planHedge(): void {
    const ms = hedgeDelayMs(this.guard, this.plan, this.passage);
    if (ms === Infinity) return;
    this.guard.hedges.earn();
    this.hedging = setTimeout(() => {
      this.hedge();
    }, ms);
  }

  private hedge(): void {
    const { tries, guard, passage } = this;
    if (tries.current === null || this.owner.isAnswering || !this.hasUntried()) return;
    // It may kill its servers: two are enough.
    if (this.brokenTries > 0) return;
    const now = this.deps.nowMs();
    // Before a server is picked: that moves the prompt.
    if (!guard.hedges.spend(now)) return;
    tries.charge = chargeOf(passage);
    const candidate = this.pick(now);
    if (candidate === null || tries.asked.includes(candidate.address)) {
      putBack(passage, tries.charge);
      guard.hedges.refund();
      return;
    }
    guard.hedgesSent += 1;
    tries.rival = this.send(candidate, this.plan, now);
  }
}
