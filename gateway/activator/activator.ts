import type { Logger } from 'pino';
import type { RoutedService, Routes } from '../../domain/routing/routes.ts';
import type { ResilienceSettings } from '../../domain/resilience/settings.ts';
import { mayWait, wakePauseMs } from '../../domain/resilience/wake.ts';
import type { Refusal } from '../errors.ts';
import { notReady } from '../forward/refusals.ts';
import type { Passage } from '../passage.ts';
import { planFor } from '../plan.ts';
import { wrongProtocol } from '../refusals.ts';
import type { Flow, Step } from '../step.ts';
import type { TimerWheel } from '../timer-wheel.ts';
import type { Endpoint } from '../upstream/endpoints.ts';
import { ProgressExchange } from './progress-exchange.ts';
import { Holder, Sleeper } from './sleeper.ts';

/**
 * Holds requests for a service that is asleep, wakes it once, and lets them go on in the order in which they came
 * when the table shows its servers. The table is the only word that counts: a call to wake that succeeds proves
 * nothing, one that fails is made again.
 */
export interface ActivatorDeps {
  readonly routes: () => Routes<Endpoint> | null;
  readonly settingsOf: (service: RoutedService) => ResilienceSettings;
  /** Null: there is no control API that could wake anything. */
  readonly wake: () => ((namespace: string, name: string, signal: AbortSignal) => Promise<void>) | null;
  readonly timer: TimerWheel;
  readonly nowMs: () => number;
  readonly chance: () => number;
  readonly logger: Logger;
}

/** A control API may take so long to answer. */
const callMs = 10_000;

export class Activator implements Step {
  readonly name = 'wake';
  private readonly deps: ActivatorDeps;
  private readonly sleepers = new Map<string, Sleeper>();
  private readonly stopping = new AbortController();
  private flow: Flow | null = null;
  /** Of sleepers that are gone. */
  private readonly past: Record<(typeof counted)[number], number> = {
    wakes: 0,
    wakesFailed: 0,
    held: 0,
    released: 0,
    expired: 0,
    refused: 0,
    waitedMs: 0,
  };

  constructor(deps: ActivatorDeps) {
    this.deps = deps;
  }

  enter(passage: Passage, flow: Flow): boolean {
    const { service } = passage;
    if (service === null || service.isReady) return true;
    const { state } = service.route;
    if (!mayWait(state, this.sleepers.has(service.key))) return true;
    const { wake: settings, totalMs } = this.deps.settingsOf(service);
    if (settings.holdMs === 0 || this.deps.wake() === null) return true;
    this.flow = flow;
    const sleeper = this.sleeperOf(service);
    const bytes = passage.exchange.body?.length ?? 0;
    if (sleeper.waiting.size >= settings.holdersMax || sleeper.bytes + bytes > settings.holdBytesMax) {
      sleeper.refused += 1;
      flow.refuse(passage, full(passage.model));
      return false;
    }
    this.hold(sleeper, passage, settings, Math.min(service.route.timeoutMs ?? Infinity, totalMs ?? Infinity));
    return false;
  }

  settle(passage: Passage): void {
    const { holder } = passage;
    if (holder === null) return;
    passage.holder = null;
    this.leave(holder);
  }

  /** Called with each new table. */
  tableChanged(): void {
    const routes = this.deps.routes();
    // A service that is seen asleep is remembered, so that one who comes while it loads waits, too.
    for (const service of routes?.services ?? []) {
      if (service.route.state === 'Asleep') this.sleeperOf(service);
    }
    for (const sleeper of [...this.sleepers.values()]) {
      const service = routes?.byKey.get(sleeper.key);
      if (service === undefined) this.dismiss(sleeper, null);
      else if (service.isReady) this.release(sleeper, service);
      else if (!mayWait(service.route.state, true)) this.dismiss(sleeper, service);
    }
  }

  all(): IterableIterator<Sleeper> {
    return this.sleepers.values();
  }

  stop(): void {
    this.stopping.abort();
    for (const sleeper of this.sleepers.values()) this.rest(sleeper);
  }

  private sleeperOf({ key, route }: RoutedService): Sleeper {
    const known = this.sleepers.get(key);
    if (known !== undefined) return known;
    const made = new Sleeper(key, route.namespace, route.name);
    this.sleepers.set(key, made);
    return made;
  }

  /** @param totalMs that the request may take in all */
  private hold(
    sleeper: Sleeper,
    passage: Passage,
    settings: ResilienceSettings['wake'],
    totalMs: number,
  ): void {
    const { nowMs, timer } = this.deps;
    const now = nowMs();
    const holder = new Holder(passage, sleeper, now, (each) => {
      this.expire(each);
    });
    passage.holder = holder;
    if (sleeper.waiting.size === 0) {
      sleeper.sinceMs = now;
      sleeper.calls = 0;
    }
    sleeper.add(holder);
    const leftMs = Math.max(0, totalMs - (now - passage.startedMs));
    timer.arm(holder, Math.min(settings.holdMs, leftMs));
    if (settings.progressMs > 0 && wantsProgress(passage)) this.report(sleeper, settings.progressMs);
    if (!sleeper.isCalling && sleeper.nextCall === undefined) this.call(sleeper);
  }

  /** One call at a time and one pause between two, for all who wait. */
  private call(sleeper: Sleeper): void {
    const { wake, logger, chance } = this.deps;
    sleeper.nextCall = undefined;
    const call = wake();
    if (call === null || sleeper.waiting.size === 0) return;
    sleeper.isCalling = true;
    sleeper.calls += 1;
    sleeper.wakes += 1;
    const signal = AbortSignal.any([this.stopping.signal, AbortSignal.timeout(callMs)]);
    call(sleeper.namespace, sleeper.name, signal)
      .catch((error: unknown) => {
        sleeper.wakesFailed += 1;
        logger.warn(
          { service: sleeper.key, err: error },
          'a service could not be woken; it will be tried again',
        );
      })
      .finally(() => {
        sleeper.isCalling = false;
        if (sleeper.waiting.size === 0 || this.stopping.signal.aborted) return;
        sleeper.nextCall = setTimeout(
          () => {
            this.call(sleeper);
          },
          wakePauseMs(sleeper.calls, chance()),
        );
        sleeper.nextCall.unref();
      });
  }

  private release(sleeper: Sleeper, service: RoutedService<Endpoint>): void {
    const { nowMs, logger, timer } = this.deps;
    this.sleepers.delete(sleeper.key);
    this.rest(sleeper);
    if (sleeper.waiting.size > 0) {
      const ms = Math.round(nowMs() - sleeper.sinceMs);
      logger.info({ service: sleeper.key, waiting: sleeper.waiting.size, ms }, 'a service woke up');
    }
    for (const holder of [...sleeper.waiting]) {
      if (!sleeper.remove(holder)) continue;
      timer.remove(holder);
      holder.passage.holder = null;
      sleeper.released += 1;
      sleeper.waitedMs += nowMs() - holder.sinceMs;
      this.goOn(holder.passage, service);
    }
    this.keepNumbers(sleeper);
  }

  /** Only now is it known what serves the service: its protocols, and the name that its server knows the model by. */
  private goOn(passage: Passage, service: RoutedService<Endpoint>): void {
    const { protocol } = passage.operation;
    passage.service = service;
    if (!service.speaks[protocol]) {
      this.flow?.refuse(passage, wrongProtocol(service, protocol, passage.model));
      return;
    }
    // A chain begins where the service is found: its client comes again, and finds it awake.
    if (service.transformer !== null || passage.operation.kind === 'v1-explain') {
      this.flow?.refuse(passage, comeAgain(passage.model));
      return;
    }
    passage.plan = planFor(passage, service);
    this.flow?.proceed(passage);
  }

  /** Nobody will wake it: gone from the table, stopped, or failed. */
  private dismiss(sleeper: Sleeper, service: RoutedService | null): void {
    this.sleepers.delete(sleeper.key);
    this.rest(sleeper);
    for (const holder of [...sleeper.waiting]) {
      if (!sleeper.remove(holder)) continue;
      this.deps.timer.remove(holder);
      const { passage } = holder;
      passage.holder = null;
      const refusal = service ?? passage.service;
      if (refusal !== null) this.flow?.refuse(passage, notReady(refusal, passage.model));
    }
    this.keepNumbers(sleeper);
  }

  private expire(holder: Holder): void {
    const { passage, sleeper } = holder;
    this.leave(holder);
    passage.holder = null;
    sleeper.expired += 1;
    this.flow?.refuse(passage, late(passage.model, this.deps.nowMs() - holder.sinceMs));
  }

  private leave(holder: Holder): void {
    this.deps.timer.remove(holder);
    holder.sleeper.remove(holder);
    if (holder.sleeper.waiting.size === 0) this.rest(holder.sleeper);
  }

  /** Nobody waits: nothing is called and nothing is told. */
  private rest(sleeper: Sleeper): void {
    clearTimeout(sleeper.nextCall);
    clearInterval(sleeper.progressTimer);
    sleeper.nextCall = undefined;
    sleeper.progressTimer = undefined;
  }

  private report(sleeper: Sleeper, everyMs: number): void {
    sleeper.progressTimer ??= setInterval(() => {
      const seconds = Math.round((this.deps.nowMs() - sleeper.sinceMs) / 1000);
      const service = this.deps.routes()?.byKey.get(sleeper.key);
      const what = service?.route.state === 'Asleep' ? 'waking' : 'loading';
      for (const holder of sleeper.waiting) {
        const { passage } = holder;
        if (!wantsProgress(passage)) continue;
        if (holder.progress === null) {
          holder.progress = new ProgressExchange(passage.exchange, passage.requestId);
          passage.exchange = holder.progress;
        }
        holder.progress.comment(`${what} ${sleeper.key}, ${String(seconds)} s`);
      }
    }, everyMs);
    sleeper.progressTimer.unref();
  }

  /** Counters must not go back when a service is awake: those of sleepers that are gone live on in one sum. */
  private keepNumbers(sleeper: Sleeper): void {
    const { past } = this;
    for (const name of counted) past[name] += sleeper[name];
  }

  /** @returns a counter over all services, those that are awake by now, too */
  total(name: (typeof counted)[number]): number {
    let sum = this.past[name];
    for (const sleeper of this.sleepers.values()) sum += sleeper[name];
    return sum;
  }
}

const counted = ['wakes', 'wakesFailed', 'held', 'released', 'expired', 'refused', 'waitedMs'] as const;

/** Streams of other protocols have no comments, or are made by a translation. */
function wantsProgress(passage: Passage): boolean {
  return passage.isStream && passage.operation.kind === 'openai-call';
}

function full(model: string): Refusal {
  return {
    code: 'wake_queue_full',
    message: `The model '${model}' is being woken, and as many requests wait for it as may: try again soon.`,
  };
}

function comeAgain(model: string): Refusal {
  const message = `The model '${model}' was asleep and is awake now: ask again.`;
  return { code: 'model_not_ready', message, retryAfterS: 1 };
}

function late(model: string, ms: number): Refusal {
  const seconds = Math.max(1, Math.round(ms / 1000));
  return {
    code: 'wake_timeout',
    message: `The model '${model}' was asleep and did not wake up within ${String(seconds)} s: try again, it may be ready soon.`,
  };
}
