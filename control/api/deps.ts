import type { Logger } from 'pino';
import type { Store } from '../store/store.ts';
import type { AccessState } from './access-state.ts';
import type { BatchDesk } from './batches/batch-desk.ts';
import type { FileBytes } from './batches/file-store.ts';
import type { Gateways } from './gateways.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { ApiMetrics } from './metrics.ts';
import type { NodeReports } from './node-reports.ts';
import type { Observations } from './observations.ts';
import type { RoutePublisher } from './route-publisher.ts';
import type { Security } from './security.ts';

/** What an installation is called and reached by; told on the status route. */
export interface Site {
  readonly version: string;
  readonly startedAt: string;
  readonly gatewayUrl: string;
  readonly temporalAddress: string;
  /** Null when the Temporal server is not ours. */
  readonly temporalUiUrl: string | null;
  /** The node that plans are made for while no node was heard of. */
  readonly node: string;
}

/** What buildApi needs; made by main.ts, or by tests. */
export interface ApiDeps {
  readonly store: Store;
  readonly lifecycle: Lifecycle;
  readonly security: Security;
  readonly site: Site;
  readonly metrics: ApiMetrics;
  readonly log: Logger;
  /** Folder of uploaded files. */
  readonly filesFolder: string;
  /** Milliseconds; the clock of liveness and of timestamps. */
  readonly now: () => number;
  readonly streams?: { readonly heartbeatMs?: number; readonly stuckMs?: number };
}

/** The deps and the state in memory that is made of them, as routes see both. */
export interface ApiContext extends ApiDeps {
  readonly desk: BatchDesk;
  readonly fileBytes: FileBytes;
  readonly reports: NodeReports;
  readonly routes: RoutePublisher;
  readonly observations: Observations;
  readonly gateways: Gateways;
  readonly access: AccessState;
}

/** Now, RFC 3339. */
export function timeOf(context: Pick<ApiDeps, 'now'>): string {
  return new Date(context.now()).toISOString();
}
