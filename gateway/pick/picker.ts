import type { Candidate } from '../../domain/routing/pick.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';
import type { Passage } from '../passage.ts';
import type { Endpoint } from '../upstream/endpoints.ts';

/** Chooses the endpoint of each try. */
export interface Picker {
  /**
   * @param tried addresses that this request has tried
   * @returns null when no endpoint of a target with traffic is ready
   */
  pick(
    passage: Passage,
    service: RoutedService<Endpoint>,
    tried: readonly string[],
    nowMs: number,
  ): Candidate<Endpoint> | null;
}
