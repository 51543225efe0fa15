import type { FastifyBaseLogger } from 'fastify';
import type { Admission } from './admission.ts';
import type { Metrics } from './metrics.ts';
import type { ModelRepository } from './repository.ts';

/** What the routes need; made by main.ts, or by tests. */
export interface Deps {
  readonly repository: ModelRepository;
  readonly admission: Admission;
  readonly metrics: Metrics;
  readonly logger: FastifyBaseLogger;
  /** False before the models are loaded and while the server drains. */
  readonly isReady: () => boolean;
  /** True once the server is to end: answers then close their connection. */
  readonly isDraining: () => boolean;
  readonly version: string;
  readonly startedAtSeconds: number;
  readonly maxBodyBytes: number;
}
