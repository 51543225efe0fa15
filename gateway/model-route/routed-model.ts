import type { RankedBackend } from '../../domain/model-route/class-order.ts';
import type { ModelRoute } from '../../domain/model-route/model-route-policy.schema.ts';
import type { Tier } from '../../domain/qos/tier.ts';

/** A model's route with what lasts longer than a request: which backends are passed over, and counts. */
export interface RoutedModel {
  /** namespace/name, as access rules name it. */
  readonly key: string;
  readonly name: string;
  readonly route: ModelRoute;
  readonly ranked: Readonly<Record<Tier, readonly RankedBackend[]>>;
  readonly returnAt: number;
  readonly spilled: boolean[];
  readonly served: number[];
}
