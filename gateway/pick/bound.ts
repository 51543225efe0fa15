import type { RoutedService } from '../../domain/routing/routes.ts';
import type { Passage } from '../passage.ts';
import type { Endpoint } from '../upstream/endpoints.ts';

/** The address that alone can answer the request, while the table lists it; null: any may. */
export function boundTo({ pinned }: Passage, { endpoints }: RoutedService<Endpoint>): string | null {
  if (pinned === null) return null;
  return endpoints.some(({ address }) => address === pinned) ? pinned : null;
}
