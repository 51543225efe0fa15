import type { Candidate } from '../../domain/routing/pick.ts';
import { retryRules } from '../../domain/resilience/settings.ts';
import { mayRepeat, retryAfterMs, retryDelayMs } from '../../domain/routing/retry.ts';
import type { FailedTry } from '../../domain/routing/retry.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';
import type { Refusal } from '../errors.ts';
import type { HeaderFields } from '../header-fields.ts';
import type { GatewayLimits } from '../limits.ts';
import type { Passage } from '../passage.ts';
import { boundTo } from '../pick/bound.ts';
import { planFor } from '../plan.ts';
import { Timed } from '../timer-wheel.ts';
import type { TimerWheel } from '../timer-wheel.ts';
import type { Endpoint } from '../upstream/endpoints.ts';
import type { UpstreamFailure } from '../upstream/upstream.ts';
import { Delivery } from './delivery.ts';
import type { DeliveryDeps } from './delivery.ts';
import type { ForwardDeps } from './forward-deps.ts';
import type { ForwardPlan } from './forward-plan.ts';
import type { Guard } from './guards.ts';
import { hedgeDelayMs } from './hedge.ts';
import { isSaid, planRest } from './mid-stream.ts';
import { broken, failureRefusal, notReady } from './refusals.ts';
import { sayAttempts, setHeader } from './response-headers.ts';
import { StandIns } from './stand-ins.ts';
import { Tries } from './tries.ts';
import { sharedHeaders, withAuthorization } from './try-headers.ts';
import { Try } from './try.ts';
import type { TryOwner } from './try.ts';
import { blame, learn } from './verdicts.ts';
import type { Witness } from './verdicts.ts';

type Service = RoutedService<Endpoint>;

/**
 * Carries one request to an endpoint and its response back, byte for byte, with further tries where that is safe.
 * Each try picks from the table of that moment, so a replacement under way is followed. Once a byte of an answer has
 * gone to the client there is no other try; a stream may then be gone on with (mid-stream.ts), and whatever breaks
 * for good is never passed off as whole.
 */
export function forward(deps: ForwardDeps, passage: Passage, service: Service, plan: ForwardPlan): void {
  new Forward(deps, passage, service, plan).begin();
}

class Forward extends Timed implements TryOwner, DeliveryDeps, Witness {
  readonly limits: GatewayLimits;
  readonly timer: TimerWheel;
  private readonly deps: ForwardDeps;
  private readonly passage: Passage;
  private readonly headers: string[];
  private plan: ForwardPlan;
  service: Service;
  guard: Guard;
  private readonly tries: Tries;
  private delivery: Delivery | null = null;
  /** Tries that were sent and broke. */
  private brokenTries = 0;
  private firstFailureMs = -1;
  /** From the first failure on. */
  private standIns: StandIns | null = null;
  private totalMs = Infinity;
  private isOver = false;
  private backoff: NodeJS.Timeout | undefined;
  private hedging: NodeJS.Timeout | undefined;

  constructor(deps: ForwardDeps, passage: Passage, service: Service, plan: ForwardPlan) {
    super();
    this.deps = deps;
    this.limits = deps.limits;
    this.timer = deps.timer;
    this.passage = passage;
    this.tries = new Tries(passage);
    this.service = service;
    this.guard = deps.guards.of(service);
    this.plan = plan;
    this.headers = ['x-request-id', passage.upstreamId ?? passage.requestId];
  }

  begin(): void {
    const { guard, passage, deps } = this;
    // It may have waited since its service was found.
    const service = deps.routes()?.byKey.get(this.service.key) ?? this.service;
    this.service = service;
    passage.exchange.onClose(() => {
      this.clientGone();
    });
    guard.retries.earn();
    this.totalMs = Math.min(service.route.timeoutMs ?? Infinity, guard.settings.totalMs ?? Infinity);
    if (passage.queueMs >= this.totalMs) {
      this.onTimeout();
      return;
    }
    if (this.totalMs !== Infinity) this.timer.arm(this, this.totalMs - passage.queueMs);
    const mayFallBack = passage.alternatives.length > 0 || guard.fallbacks.length > 0;
    if (mayFallBack && !this.hasUntried()) this.fallBack();
    this.try();
    this.planHedge();
  }

  /** The request's whole time is over. */
  onTimeout(): void {
    this.runOut('REQUEST_TIMEOUT', `it took longer than the ${this.totalMs} ms that it may take`);
  }

  onStalled(): void {
    this.runOut('CLIENT_STALLED', 'the client took no bytes for too long');
    this.passage.exchange.cut();
  }

  private runOut(code: string, message: string): void {
    const failure: UpstreamFailure = { kind: 'timeout', code, message };
    this.deps.onUpstreamFailure(this.service, failure);
    this.tries.drop();
    this.giveUp(failure);
  }

  onHead(one: Try, status: number, headers: HeaderFields): void {
    const { passage, guard, deps } = this;
    const now = deps.nowMs();
    learn(one, status, this, now);
    if (this.delivery !== null) {
      if (status !== 200) this.onCut(one, broken('STATUS_' + String(status), 'a server refused to go on'));
      return;
    }
    if (status >= 400 && guard.settings.retry.statuses.includes(status)) {
      if (this.askElsewhere(one, headers, now)) return;
    }
    clearTimeout(this.hedging);
    if (this.tries.win(one)) guard.hedgesWon += 1;
    passage.firstByteMs = now - passage.startedMs;
    sayAttempts(passage);
    this.delivery = new Delivery(this, passage, one, headers);
    this.delivery.start(status, headers);
  }

  onData(one: Try, chunk: Uint8Array, isLast: boolean): void {
    const { delivery } = this;
    if (delivery === null) return;
    delivery.data(chunk, isLast);
    if (delivery.midStream?.hasFailed === true) {
      one.abort();
      this.onCut(one, broken('STREAM_ERROR', 'a server could not go on with the answer'));
    }
  }

  onEnd(one: Try): void {
    const { delivery } = this;
    if (delivery === null) return;
    if (delivery.isTruncated()) {
      this.onCut(one, broken('STREAM_TRUNCATED', 'the stream ended without its last event'));
      return;
    }
    this.complete(delivery);
  }

  onFailure(one: Try, failure: UpstreamFailure): void {
    const { delivery, deps } = this;
    if (delivery !== null && !delivery.isHeld) {
      this.onCut(one, failure);
      return;
    }
    deps.onUpstreamFailure(this.service, failure);
    this.blame(one, failure);
    if (delivery !== null) {
      delivery.forget();
      this.delivery = null;
    }
    if (this.tries.lose(one)) return; // the other one is still at it
    const wasSent = one.wasSent && failure.isStale !== true;
    if (wasSent) this.brokenTries += 1;
    this.again(failure, { kind: failure.kind, wasSent, retryAfterMs: null });
  }

  /** @returns false when the answer is the client's after all */
  private askElsewhere(one: Try, headers: HeaderFields, now: number): boolean {
    if (this.tries.rival !== null) {
      one.discard();
      this.tries.lose(one);
      return true;
    }
    const afterMs = retryAfterMs(headers['retry-after'], Date.now());
    const failed = this.failedTry({ kind: 'status', wasSent: true, retryAfterMs: afterMs }, now);
    if (!this.repeat(failed, now)) return false;
    one.discard();
    this.tries.current = null;
    return true;
  }

  private again(failure: UpstreamFailure, what: Pick<FailedTry, 'kind' | 'wasSent' | 'retryAfterMs'>): void {
    const now = this.deps.nowMs();
    if (this.repeat(this.failedTry(what, now), now)) return;
    this.giveUp(failure);
  }

  private failedTry(what: Pick<FailedTry, 'kind' | 'wasSent' | 'retryAfterMs'>, now: number): FailedTry {
    if (this.firstFailureMs < 0) this.firstFailureMs = now;
    return {
      ...what,
      tries: this.passage.tries,
      brokenTries: this.brokenTries,
      elapsedMs: now - this.firstFailureMs,
      isRepeatable: this.plan.isRepeatable,
      hasOther: this.hasUntried(),
    };
  }

  /** Here, or by a service that stands in. @returns false when neither may be */
  private repeat(failed: FailedTry, now: number): boolean {
    const { guard, limits, deps } = this;
    const rules = retryRules(guard.settings.retry, limits);
    // A service that stands in is asked before an endpoint is asked twice; that is no storm, so it costs no budget.
    const mayStandIn = mayRepeat({ ...failed, hasOther: true }, rules);
    if (!failed.hasOther && mayStandIn && this.fallBack()) return this.tryAfter(0);
    const delay = retryDelayMs(failed, rules, deps.chance);
    if (delay !== null && (!failed.wasSent || guard.retries.spend(now))) return this.tryAfter(delay);
    return mayStandIn && this.fallBack() && this.tryAfter(0);
  }

  private tryAfter(delay: number): true {
    const next = () => {
      if (this.isOver) return;
      this.deps.onRetry(this.service);
      this.try();
    };
    if (delay === 0) setImmediate(next);
    else this.backoff = setTimeout(next, delay);
    return true;
  }

  private try(): void {
    const { deps, passage } = this;
    if (passage.tries > 0) this.service = deps.routes()?.byKey.get(this.service.key) ?? this.service;
    if (passage.entry === null) passage.service = this.service;
    const now = deps.nowMs();
    const candidate = deps.picker.pick(passage, this.service, this.tries.asked, now);
    if (candidate !== null) this.tries.current = this.send(candidate, this.plan, now);
    else if (this.fallBack()) this.try();
    else this.refuse(notReady(this.service, passage.model));
  }

  private send(candidate: Candidate<Endpoint>, plan: ForwardPlan, now: number): Try {
    const { deps, passage, limits } = this;
    const { perTryMs } = this.guard.settings.retry;
    passage.candidate = candidate;
    passage.tries += 1;
    this.tries.asked.push(candidate.address);
    const one = new Try(this, deps.endpoints, candidate, now);
    one.send({
      method: passage.exchange.method,
      path: plan.path,
      common: sharedHeaders(passage),
      headers: withAuthorization(this.headers, passage, this.service),
      body: plan.body,
      headersMs: Math.min(this.totalMs, perTryMs ?? Infinity, limits.headersMs),
      bodyIdleMs: limits.bodyIdleMs,
    });
    return one;
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

  private hasUntried(isWell = true): boolean {
    return this.tries.hasUntried(this.service, this.deps.nowMs(), isWell);
  }

  private blame(one: Try, failure: UpstreamFailure): void {
    blame(one, failure, this, { nowMs: this.deps.nowMs(), skipMs: this.limits.skipMs });
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
    const { deps, passage, guard } = this;
    if (this.tries.current === null || this.delivery !== null || !this.hasUntried()) return;
    const now = deps.nowMs();
    const candidate = deps.picker.pick(passage, this.service, this.tries.asked, now);
    if (candidate === null || this.tries.asked.includes(candidate.address) || !guard.hedges.spend(now))
      return;
    guard.hedgesSent += 1;
    this.tries.rival = this.send(candidate, this.plan, now);
  }

  /** A stream lost its server after its head: it is gone on with, or broken off. */
  private onCut(one: Try, failure: UpstreamFailure): void {
    const { delivery } = this;
    if (delivery === null || this.isSaidBy(delivery)) return;
    this.deps.onUpstreamFailure(this.service, failure);
    this.blame(one, failure);
    this.tries.cut(one);
    if (!this.goOn(delivery)) this.giveUp(failure);
  }

  private goOn(delivery: Delivery): boolean {
    const { midStream } = delivery;
    const { guard, deps, passage } = this;
    if (midStream === null || passage.exchange.status !== 200) return false;
    if (delivery.isWithinEvent)
      return this.notContinued('it was cut within an event too long to be held back');
    const answer = midStream.answer();
    if (isSaid(passage, answer)) {
      delivery.sayDone();
      this.complete(delivery);
      return true;
    }
    this.tries.forgetAllButCuts();
    if (!this.hasUntried(false)) return this.notContinued('no other server is there');
    const now = deps.nowMs();
    const next = planRest(passage, this.plan, answer, { midStream, guard, nowMs: now });
    if ('obstacle' in next) return this.notContinued(next.obstacle);
    const candidate = deps.picker.pick(passage, this.service, this.tries.asked, now);
    if (candidate === null) return this.notContinued('no server is ready');
    guard.continued += 1;
    deps.onRetry(this.service);
    const one = this.send(candidate, next, now);
    this.tries.current = one;
    delivery.goOn(one);
    return true;
  }

  private notContinued(why: string): false {
    this.guard.continuationsFailed += 1;
    this.deps.onNotContinued(this.passage, why);
    return false;
  }

  /** Says what went wrong: as an answer while none has begun, else in it. */
  private giveUp(failure: UpstreamFailure): void {
    const { delivery, passage } = this;
    const refusal = failureRefusal(this.service, passage.model, failure);
    if (delivery === null || delivery.isHeld) {
      delivery?.forget();
      this.refuse(refusal);
    } else if (!this.isSaidBy(delivery)) {
      this.guard.brokenOff += 1;
      this.finish();
      delivery.breakOff(refusal);
    }
  }

  /** Completes an answer whose last word its client has: nothing that happens behind it matters. */
  private isSaidBy(delivery: Delivery): boolean {
    if (delivery.isDone) this.complete(delivery);
    return delivery.isDone;
  }

  private complete(delivery: Delivery): void {
    this.finish();
    try {
      delivery.end();
    } catch (error) {
      this.passage.exchange.cut(); // its server is done with it: nobody else would end it
      throw error;
    }
  }

  /** Also after an ordinary end, when there is nothing left to do. */
  private clientGone(): void {
    if (this.isOver) return;
    this.finish();
    this.tries.drop();
    this.delivery?.abandon();
  }

  private refuse(refusal: Refusal): void {
    const { passage } = this;
    this.finish();
    sayAttempts(passage);
    this.deps.refuse(passage, refusal);
  }

  private finish(): void {
    this.isOver = true;
    this.timer.remove(this);
    clearTimeout(this.backoff);
    clearTimeout(this.hedging);
  }
}
