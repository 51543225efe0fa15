import { healthPath, isWell, nextPauseMs } from '../../domain/resilience/health-check.ts';
import { allowProbes, breakerState, ejectIfAllowed, slowOnes } from '../../domain/resilience/outlier.ts';
import type { RoutedService, Routes } from '../../domain/routing/routes.ts';
import type { Endpoint } from '../upstream/endpoints.ts';
import type { UpstreamCall, UpstreamHandler } from '../upstream/upstream.ts';
import type { Guards } from './guards.ts';

/**
 * Asks servers whether they are well, beside the requests and never in their way: ejected ones, so that they come
 * back as soon as they can and no caller has to find out; all of them where the policy says so. Endpoints that the
 * table does not call ready are not asked: whoever wrote the table knows better. One loop for all, so many questions
 * at once, each with a time.
 */
export interface ActiveHealthDeps {
  readonly routes: () => Routes<Endpoint> | null;
  readonly guards: Guards;
  readonly nowMs: () => number;
}

const tickMs = 250;
const questionsMax = 32;
/** Answers that an endpoint must have given before its pace is judged. */
const samplesMin = 20;
/** Of an answer to a question; what is longer is cut. */
const answerBytesMax = 16 * 1024;

interface Patient {
  dueMs: number;
  pauseMs: number;
  isAsked: boolean;
}

export class ActiveHealth {
  asked = 0;
  failed = 0;
  private readonly deps: ActiveHealthDeps;
  private readonly patients = new WeakMap<Endpoint, Patient>();
  private readonly ticking: NodeJS.Timeout;
  /** Under way. */
  private readonly calls = new Set<Question>();

  constructor(deps: ActiveHealthDeps) {
    this.deps = deps;
    this.ticking = setInterval(() => {
      this.look();
    }, tickMs);
    this.ticking.unref();
  }

  stop(): void {
    clearInterval(this.ticking);
    for (const call of this.calls) call.abort();
  }

  private look(): void {
    const { routes, guards, nowMs } = this.deps;
    const now = nowMs();
    for (const service of routes()?.services ?? []) {
      const { activeHealth, outlier } = guards.of(service).settings;
      if (activeHealth.mode === 'off' && outlier.latencyFactor === 0) continue;
      const ready = readyOf(service);
      if (ready.length > 1 && outlier.latencyFactor > 0) {
        const closed = ready.filter((endpoint) => breakerState(endpoint, now) === 'closed');
        for (const slow of slowOnes(closed, outlier.latencyFactor, samplesMin)) {
          if (ejectIfAllowed(slow, outlier, ready, now)) slow.health.samples = 0;
        }
      }
      if (activeHealth.mode === 'off') continue;
      for (const endpoint of ready) {
        if (activeHealth.mode === 'ejected' && breakerState(endpoint, now) !== 'open') continue;
        this.ask(service, endpoint, ready, now);
      }
    }
  }

  private ask(
    service: RoutedService<Endpoint>,
    endpoint: Endpoint,
    ready: readonly Endpoint[],
    now: number,
  ): void {
    const { activeHealth, outlier } = this.deps.guards.of(service).settings;
    const patient = this.patients.get(endpoint) ?? { dueMs: 0, pauseMs: 0, isAsked: false };
    this.patients.set(endpoint, patient);
    if (patient.isAsked || patient.dueMs > now || this.calls.size >= questionsMax) return;
    if (!endpoint.address.startsWith('http')) return; // a question here is an HTTP one; others come back by time
    // Just ejected: it gets the time of one pause to come to itself.
    if (now - endpoint.health.ejectedAtMs < activeHealth.intervalMs) return;
    patient.isAsked = true;
    this.asked += 1;
    const question = new Question(activeHealth.timeoutMs, (isGood) => {
      this.calls.delete(question);
      patient.isAsked = false;
      const at = this.deps.nowMs();
      patient.pauseMs = nextPauseMs(patient.pauseMs, isGood, activeHealth);
      patient.dueMs = at + patient.pauseMs;
      if (isGood) allowProbes(endpoint, at);
      else {
        this.failed += 1;
        if (breakerState(endpoint, at) === 'closed') ejectIfAllowed(endpoint, outlier, ready, at);
      }
    });
    this.calls.add(question);
    question.send(endpoint, healthPath(service.route, activeHealth.path));
  }
}

function readyOf(service: RoutedService<Endpoint>): Endpoint[] {
  return service.targets.flatMap(({ percent, ready }) => (percent > 0 ? ready.map(({ load }) => load) : []));
}

/** One GET whose status alone counts, but the whole answer has its time. */
class Question implements UpstreamHandler {
  private call: UpstreamCall | null = null;
  private isOver = false;
  private bytes = 0;
  private readonly answered: (isGood: boolean) => void;
  private readonly timer: NodeJS.Timeout;
  private readonly timeoutMs: number;

  constructor(timeoutMs: number, answered: (isGood: boolean) => void) {
    this.timeoutMs = timeoutMs;
    this.answered = answered;
    this.timer = setTimeout(() => {
      this.call?.abort();
      this.end(false);
    }, timeoutMs);
    this.timer.unref();
  }

  send(endpoint: Endpoint, path: string): void {
    this.call = endpoint.upstream.send(
      { method: 'GET', path, headers: [], body: null, headersMs: this.timeoutMs, bodyIdleMs: this.timeoutMs },
      this,
    );
  }

  abort(): void {
    this.isOver = true;
    clearTimeout(this.timer);
    this.call?.abort();
  }

  onSent(): void {
    // only its answer counts
  }
  onHead(status: number): void {
    this.end(isWell(status));
  }
  /** Read and forgotten, so that the connection can serve again; but not for ever. */
  onData(chunk: Uint8Array): void {
    this.bytes += chunk.length;
    if (this.bytes > answerBytesMax) this.abort();
  }
  /** The head has said it. */
  onEnd(): void {
    clearTimeout(this.timer);
  }
  onFailure(): void {
    clearTimeout(this.timer);
    this.end(false);
  }

  private end(isGood: boolean): void {
    if (this.isOver) return;
    this.isOver = true;
    this.answered(isGood);
  }
}
