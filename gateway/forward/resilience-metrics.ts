import { Counter, Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import { breakerState } from '../../domain/resilience/outlier.ts';
import type { Routes } from '../../domain/routing/routes.ts';
import { plainMetrics } from '../observe/plain-metrics.ts';
import type { Endpoint } from '../upstream/endpoints.ts';
import type { ActiveHealth } from './active-health.ts';
import type { Guard, Guards } from './guards.ts';

export interface ResilienceMetricsDeps {
  readonly registry: Registry;
  readonly guards: Guards;
  readonly health: ActiveHealth;
  readonly routes: () => Routes<Endpoint> | null;
  readonly nowMs: () => number;
}

/** Numbers that requests count in guards and endpoints, read when they are scraped. Labels are the table's names. */
export function registerResilienceMetrics(deps: ResilienceMetricsDeps): void {
  const { registry, guards, health } = deps;
  const registers = [registry];
  const perService = (name: string, help: string, read: (guard: Guard) => number): void => {
    new Counter({
      name: `muster_gateway_resilience_${name}`,
      help,
      labelNames: ['namespace', 'service'],
      registers,
      collect() {
        this.reset();
        for (const [key, guard] of guards.all()) {
          const count = read(guard);
          const slash = key.indexOf('/');
          if (count > 0) this.inc({ namespace: key.slice(0, slash), service: key.slice(slash + 1) }, count);
        }
      },
    });
  };
  perService('retries_refused_total', 'Tries that the retry budget did not allow', (g) => g.retries.refused);
  perService('fallbacks_total', 'Requests handed to a service that stands in', (g) => g.fallenBack);
  perService('hedges_total', 'Requests that a second server was asked for', (g) => g.hedgesSent);
  perService('hedges_won_total', 'Requests that the second server answered first', (g) => g.hedgesWon);
  perService('continuations_total', 'Cut streams that another server went on with', (g) => g.continued);
  perService(
    'continuations_refused_total',
    'Cut streams that could not be gone on with',
    (g) => g.continuationsFailed,
  );
  perService('broken_off_total', 'Answers that ended in an error or a cut', (g) => g.brokenOff);
  registerEndpoints(deps);
  const { counter } = plainMetrics(registry, 'muster_gateway_resilience_');
  counter('health_checks_total', 'Servers asked whether they are well', () => health.asked);
  counter('health_checks_failed_total', 'Servers that were not, or did not say', () => health.failed);
}

function registerEndpoints({ registry, routes, nowMs }: ResilienceMetricsDeps): void {
  const each = (set: (labels: Record<string, string>, ejected: number, ejections: number) => void): void => {
    const now = nowMs();
    for (const { route, endpoints } of routes()?.services ?? []) {
      let [ejected, ejections] = [0, 0];
      for (const { load } of endpoints) {
        if (breakerState(load, now) !== 'closed') ejected += 1;
        ejections += load.health.ejectionsTotal;
      }
      set({ namespace: route.namespace, service: route.name }, ejected, ejections);
    }
  };
  const labelNames = ['namespace', 'service'];
  new Gauge({
    name: 'muster_gateway_resilience_ejected_endpoints',
    help: 'Endpoints that are left alone or on probation now',
    labelNames,
    registers: [registry],
    collect() {
      this.reset();
      each((labels, ejected) => {
        this.set(labels, ejected);
      });
    },
  });
  new Counter({
    name: 'muster_gateway_resilience_ejections_total',
    help: 'Ejections of the endpoints that the table has now',
    labelNames,
    registers: [registry],
    collect() {
      this.reset();
      each((labels, _ejected, ejections) => {
        if (ejections > 0) this.inc(labels, ejections);
      });
    },
  });
}
