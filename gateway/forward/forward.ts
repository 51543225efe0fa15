import { retryAfterMs } from '../../domain/routing/retry.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';
import type { Refusal } from '../errors.ts';
import type { HeaderFields } from '../header-fields.ts';
import type { GatewayLimits } from '../limits.ts';
import type { Passage } from '../passage.ts';
import { ToldHeads } from '../told-head.ts';
import { Timed } from '../timer-wheel.ts';
import type { TimerWheel } from '../timer-wheel.ts';
import type { Endpoint } from '../upstream/endpoints.ts';
import type { UpstreamFailure } from '../upstream/upstream.ts';
import { Delivery } from './delivery.ts';
import type { DeliveryDeps } from './delivery.ts';
import { Dispatch } from './dispatch.ts';
import type { DispatchOwner } from './dispatch.ts';
import type { ForwardDeps } from './forward-deps.ts';
import type { ForwardPlan } from './forward-plan.ts';
import type { Guard } from './guards.ts';
import { isSaid, planRest } from './mid-stream.ts';
import { broken, failureRefusal } from './refusals.ts';
import { sayAttempts } from './response-headers.ts';
import type { Tries } from './tries.ts';
import type { Try } from './try.ts';
import { blame, learn } from './verdicts.ts';

type Service = RoutedService<Endpoint>;

/**
 * Carries one request to an endpoint and its response back, byte for byte, with further tries where that is safe
 * (dispatch.ts). Once a byte of an answer has gone to the client there is no other try; a stream may then be gone on
 * with (mid-stream.ts), and whatever breaks for good is never passed off as whole.
 */
export function forward(deps: ForwardDeps, passage: Passage, service: Service, plan: ForwardPlan): void {
  new Forward(deps, passage, service, plan).begin();
}

class Forward extends Timed implements DispatchOwner, DeliveryDeps {
  readonly limits: GatewayLimits;
  readonly timer: TimerWheel;
  totalMs = Infinity;
  isOver = false;
  private readonly deps: ForwardDeps;
  private readonly passage: Passage;
  private readonly dispatch: Dispatch;
  private readonly tries: Tries;
  private delivery: Delivery | null = null;

  constructor(deps: ForwardDeps, passage: Passage, service: Service, plan: ForwardPlan) {
    super();
    this.deps = deps;
    this.limits = deps.limits;
    this.timer = deps.timer;
    this.passage = passage;
    this.dispatch = new Dispatch(deps, passage, { service, plan }, this);
    this.tries = this.dispatch.tries;
  }

  get guard(): Guard {
    return this.dispatch.guard;
  }

  get isAnswering(): boolean {
    return this.delivery !== null;
  }

  begin(): void {
    const { deps, dispatch, guard, passage } = this;
    // It may have waited since its service was found.
    const { route } = dispatch.follow();
    passage.exchange.onClose(() => {
      this.clientGone();
    });
    guard.retries.earn();
    this.totalMs = Math.min(route.timeoutMs ?? Infinity, guard.settings.totalMs ?? Infinity);
    if (this.totalMs !== Infinity) {
      // What it waited for before counts, too: its place, a service that slept, another's answer.
      const leftMs = this.totalMs - (deps.nowMs() - passage.startedMs);
      if (leftMs <= 0) {
        this.onTimeout();
        return;
      }
      this.timer.arm(this, leftMs);
    }
    dispatch.begin();
  }

  /** The request's whole time is over. */
  onTimeout(): void {
    const failure = late('REQUEST_TIMEOUT', `it took longer than the ${this.totalMs} ms that it may take`);
    // Before it was asked, or behind its last word, a server is not late.
    if (this.tries.current !== null && this.delivery?.isDone !== true) this.tell(failure);
    this.runOut(failure);
  }

  onStalled(): void {
    this.runOut(late('CLIENT_STALLED', 'the client took no bytes for too long'));
    this.passage.exchange.cut();
  }

  private runOut(failure: UpstreamFailure): void {
    this.tries.drop();
    this.giveUp(failure);
  }

  onHead(one: Try, status: number, headers: HeaderFields, told = new ToldHeads()): void {
    const { passage, guard, deps, dispatch } = this;
    const now = deps.nowMs();
    learn(one, status, dispatch, now);
    if (this.delivery !== null) {
      // What it says of its server was learnt; it broke nothing.
      if (status !== 200)
        this.replace(this.delivery, one, broken(`STATUS_${String(status)}`, 'a server refused to go on'));
      else one.sink = this.delivery;
      return;
    }
    if (status >= 400 && guard.settings.retry.statuses.includes(status)) {
      if (this.askElsewhere(one, headers)) return;
    }
    dispatch.stopHedging();
    if (this.tries.win(one)) guard.hedgesWon += 1;
    passage.firstByteMs = now - passage.startedMs;
    sayAttempts(passage);
    this.delivery = new Delivery(this, passage, one, headers);
    one.sink = this.delivery;
    this.delivery.start(status, headers, told);
  }

  onStreamFailed(one: Try): void {
    one.abort();
    this.onCut(one, broken('STREAM_ERROR', 'a server could not go on with the answer'));
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
    const { delivery } = this;
    if (delivery !== null && !delivery.isHeld) {
      this.onCut(one, failure);
      return;
    }
    this.tell(failure);
    this.blame(one, failure);
    if (delivery !== null) {
      delivery.forget();
      this.delivery = null;
    }
    const wasSent = one.wasSent && failure.isStale !== true;
    if (wasSent) this.dispatch.brokenTries += 1;
    if (this.tries.lose(one)) return; // the other one is still at it
    if (this.dispatch.repeat({ kind: failure.kind, wasSent, retryAfterMs: null })) return;
    this.giveUp(failure);
  }

  /** @returns false when the answer is the client's after all */
  private askElsewhere(one: Try, headers: HeaderFields): boolean {
    if (this.tries.rival !== null) {
      one.discard();
      this.tries.lose(one);
      return true;
    }
    const afterMs = retryAfterMs(headers['retry-after'], Date.now());
    if (!this.dispatch.repeat({ kind: 'status', wasSent: true, retryAfterMs: afterMs })) return false;
    one.discard();
    this.tries.current = null;
    return true;
  }

  private tell(failure: UpstreamFailure): void {
    this.deps.onUpstreamFailure(this.dispatch.service, failure);
  }

  private blame(one: Try, failure: UpstreamFailure): void {
    blame(one, failure, this.dispatch, { nowMs: this.deps.nowMs(), skipMs: this.limits.skipMs });
  }

  /** A stream lost its server after its head: it is gone on with, or broken off. */
  private onCut(one: Try, failure: UpstreamFailure): void {
    const { delivery } = this;
    if (delivery === null || this.isSaidBy(delivery)) return;
    this.blame(one, failure);
    this.replace(delivery, one, failure);
  }

  /** Of a stream: another server goes on in the place of this one, or nobody does. */
  private replace(delivery: Delivery, one: Try, failure: UpstreamFailure): void {
    this.tell(failure);
    this.tries.cut(one);
    if (!this.goOn(delivery)) this.giveUp(failure);
  }

  private goOn(delivery: Delivery): boolean {
    const { midStream } = delivery;
    const { guard, deps, passage, dispatch } = this;
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
    if (!dispatch.hasUntried('any')) return this.notContinued('no other server is there');
    const now = deps.nowMs();
    const next = planRest(passage, dispatch.plan, answer, { midStream, guard, nowMs: now });
    if ('obstacle' in next) return this.notContinued(next.obstacle);
    const candidate = dispatch.pick(now);
    if (candidate === null) return this.notContinued('no server is ready');
    guard.continued += 1;
    deps.onRetry(dispatch.service);
    const one = dispatch.send(candidate, next, now);
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
    const refusal = failureRefusal(this.dispatch.service, passage.model, failure);
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

  refuse(refusal: Refusal): void {
    const { passage } = this;
    this.finish();
    sayAttempts(passage);
    this.deps.refuse(passage, refusal);
  }

  private finish(): void {
    this.isOver = true;
    this.timer.remove(this);
    this.dispatch.stop();
  }
}

function late(code: string, message: string): UpstreamFailure {
  return { kind: 'timeout', code, message };
}
