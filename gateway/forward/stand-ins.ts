import { maySee } from '../../domain/access/may.ts';
import type { RoutedService, Routes } from '../../domain/routing/routes.ts';
import type { Passage } from '../passage.ts';
import type { Endpoint } from '../upstream/endpoints.ts';

type Service = RoutedService<Endpoint>;

/**
 * Services that may answer a request in the place of its own, each asked for once: those of its model route, then those
 * of the policy. Access to a model route is access to all of its services; the policy's own are the caller's to ask,
 * or they are passed over.
 */
export class StandIns {
  private readonly services: readonly Service[];
  private at = 0;

  /** @param fallbacks keys of the policy */
  constructor(
    { alternatives, caller }: Passage,
    fallbacks: readonly string[],
    routes: Routes<Endpoint> | null,
  ) {
    const mayAsk = fallbacks.filter((key) => caller === null || maySee(caller, { key }));
    const keys = [...alternatives.map(({ key }) => key), ...mayAsk];
    this.services = keys.flatMap((key) => routes?.byKey.get(key) ?? []);
  }

  /** @returns the next one that can answer, or null */
  next(passage: Passage, current: Service): Service | null {
    while (this.at < this.services.length) {
      const service = this.services[this.at];
      this.at += 1;
      if (service === undefined || service.key === current.key || !service.isReady) continue;
      if (service.speaks[passage.operation.protocol]) return service;
    }
    return null;
  }
}
