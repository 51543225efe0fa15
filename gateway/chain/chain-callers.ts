import { randomBytes } from 'node:crypto';
import type { Caller } from '../../domain/access/caller.ts';
import { hostName } from '../../domain/routing/resolve.ts';
import type { Routes } from '../../domain/routing/routes.ts';
import type { Exchange } from '../front/exchange.ts';
import { givenRequestId, single } from '../front/headers.ts';
import type { Passage } from '../passage.ts';
import type { Flow, Step } from '../step.ts';

/**
 * A transformer or explainer asks its predictor through the gateway, and KServe's SDK hands on the request's id and
 * no credential. So for as long as the first request is under way, a request of its id to that service's predictor is
 * its caller's; it is the same piece of work, and is not charged again. Clients choose ids and can guess others': the
 * server is told one of its own, which begins with the request's and which nobody else can know.
 */
export class ChainCallers implements Step {
  readonly name = 'chain callers';
  /** By the id that the server was told; as many as chained requests are in flight. */
  private readonly underWay = new Map<string, { readonly passage: Passage; readonly key: string }>();

  private readonly routes: () => Routes | null;

  constructor(routes: () => Routes | null) {
    this.routes = routes;
  }

  get size(): number {
    return this.underWay.size;
  }

  /** @param key of the service whose component is asked */
  open(passage: Passage, key: string): void {
    const id = `${passage.requestId.slice(0, 96)}~${randomBytes(16).toString('base64url')}`;
    passage.upstreamId = id;
    this.underWay.set(id, { passage, key });
  }

  /** Only who was told the id of a request under way has it: its body is no stranger's. */
  knows(exchange: Exchange): boolean {
    if (this.underWay.size === 0) return false;
    const id = givenRequestId(exchange);
    return id !== null && this.underWay.has(id);
  }

  enter(passage: Passage, _flow: Flow): boolean {
    if (this.underWay.size === 0 || passage.caller !== null) return true;
    const first = this.underWay.get(passage.requestId);
    if (first === undefined || !this.isForPredictor(passage, first.key)) return true;
    passage.isPart = true;
    if (first.passage.caller !== null) passage.caller = asPart(first.passage.caller);
    return true;
  }

  /** By its path or by its host; a prefix goes before a host, and the two are never of two services. */
  private isForPredictor({ operation, exchange }: Passage, key: string): boolean {
    const { prefix } = operation;
    if (prefix !== null) return `${prefix.namespace}/${prefix.name}` === `${key}-predictor`;
    const host = single(exchange.headers['host']);
    const service = host === null ? undefined : this.routes()?.byHost.get(hostName(host));
    // The service's own host leads to its transformer, again.
    return service?.key === key && service.transformer === null && service.explainer === null;
  }

  settle(passage: Passage): void {
    if (passage.upstreamId !== null) this.underWay.delete(passage.upstreamId);
  }
}

function asPart(caller: Caller): Caller {
  return { ...caller, kind: 'internal', scopes: ['infer'] };
}
