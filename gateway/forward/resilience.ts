import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { ResiliencePolicy } from '../../domain/resilience/resilience-policy.schema.ts';
import type { RouteTable } from '../../domain/route-table/route-table.schema.ts';
import type { Routes } from '../../domain/routing/routes.ts';
import { registerActivatorMetrics } from '../activator/activator-metrics.ts';
import { Activator } from '../activator/activator.ts';
import type { ControlLink } from '../control-proxy/control-link.ts';
import { TimerWheel } from '../timer-wheel.ts';
import type { Endpoint, Endpoints } from '../upstream/endpoints.ts';
import { ActiveHealth } from './active-health.ts';
import { Guards } from './guards.ts';
import { registerResilienceMetrics } from './resilience-metrics.ts';

/** All that a gateway does about failures, put together: what requests share, health, and the waking of services. */
export interface ResilienceDeps {
  readonly registry: Registry;
  readonly logger: Logger;
  readonly routes: () => Routes<Endpoint> | null;
  readonly endpoints: Endpoints;
  readonly control: ControlLink;
  readonly nowMs: () => number;
  readonly chance: () => number;
}

export class Resilience {
  readonly guards: Guards;
  /** Deadlines of requests. */
  readonly timer: TimerWheel;
  /** The step that holds requests for sleeping services. */
  readonly activator: Activator;

  constructor(deps: ResilienceDeps) {
    const { registry, routes, nowMs, control } = deps;
    this.guards = new Guards(nowMs);
    this.timer = new TimerWheel(nowMs, { doPausesCount: true });
    const health = new ActiveHealth({ routes, guards: this.guards, nowMs });
    this.activator = new Activator({
      ...deps,
      timer: this.timer,
      settingsOf: (service) => this.guards.of(service).settings,
      wake: () => control.wake(),
    });
    registerResilienceMetrics({ registry, guards: this.guards, health, routes, nowMs });
    registerActivatorMetrics(registry, this.activator);
    deps.endpoints.onClose(() => {
      health.stop();
      this.activator.stop();
    });
  }

  /** Called with each new table, before any request sees it. */
  use(policy: ResiliencePolicy, table: RouteTable): void {
    this.guards.use(policy, table);
    this.activator.tableChanged();
  }
}
