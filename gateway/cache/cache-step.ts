import type { Logger } from 'pino';
import type { CachePolicy } from '../../domain/cache/cache-policy.schema.ts';
import { wantedOf } from '../../domain/cache/deliver.ts';
import { readDirectives } from '../../domain/cache/directives.ts';
import type { Directives } from '../../domain/cache/directives.ts';
import { isAnyEnabled } from '../../domain/cache/rules.ts';
import type { GatewayPolicy } from '../../domain/gateway-policy/gateway-policy.schema.ts';
import type { RouteTable } from '../../domain/route-table/route-table.schema.ts';
import { answer } from '../front/exchange.ts';
import type { Passage } from '../passage.ts';
import type { SharedRedis } from '../redis/shared-redis.ts';
import type { Flow, Step } from '../step.ts';
import { CacheMetrics } from './cache-metrics.ts';
import type { CacheResult } from './cache-metrics.ts';
import { entryKey } from './entry.ts';
import type { Entry } from './entry.ts';
import { Keeper } from './keeper.ts';
import { Leading } from './leading.ts';
import { Lookup } from './lookup.ts';
import { readRequest } from './read-request.ts';
import { render, replay } from './replay.ts';
import type { Level } from './replay.ts';
import type { AskInternally } from './semantic.ts';
import type { Siblings } from './siblings.ts';
import { Versions, drawVersion } from './versions.ts';
import type { CachedService } from './versions.ts';

/**
 * Answers that were given before, given again: from memory, from Redis, from a similar prompt, or from a request that
 * is asking for the same right now; else the request goes on, and its answer is kept if it may be. Off costs a check.
 */
export interface CacheStepDeps {
  readonly redis: SharedRedis | null;
  /** Other processes of this gateway; null when there are none. */
  readonly siblings: Siblings | null;
  readonly ask: AskInternally;
  readonly logger: Logger;
  /** Date.now: ages count across gateways. */
  readonly nowMs: () => number;
  /** Monotonic, as in `passage.startedMs`. */
  readonly monotonicMs: () => number;
  readonly chance: () => number;
}

export class CacheStep implements Step {
  readonly name = 'cache';
  readonly metrics = new CacheMetrics();
  private readonly deps: CacheStepDeps;
  private readonly versions: Versions;
  private readonly keeper: Keeper;
  private readonly leading: Leading;
  private policy: CachePolicy | null = null;

  constructor(deps: CacheStepDeps) {
    this.deps = deps;
    this.versions = new Versions(({ namespace, name }) => this.metrics.of(namespace, name));
    this.keeper = new Keeper(deps, this.metrics, this.versions);
    this.leading = new Leading(deps, this.metrics, this.keeper, (lookup, entry, level, exchange) =>
      this.serve(lookup, entry, level, exchange),
    );
  }

  /** Called with each new table, before any request sees it. */
  use(table: RouteTable, { cache }: GatewayPolicy): void {
    const isOn = isAnyEnabled(cache);
    this.policy = isOn ? cache : null;
    this.metrics.forgetMany();
    this.versions.use(table, cache);
    this.keeper.use(cache, isOn);
    this.leading.use(cache.singleFlight);
  }

  register(registry: Parameters<CacheMetrics['register']>[0]): void {
    this.metrics.register(registry, { ...this.keeper.gauges(), ...this.leading.gauges() });
  }

  enter(passage: Passage, flow: Flow): boolean {
    if (passage.operation.kind === 'cache-purge') {
      this.purge(passage, flow);
      return false;
    }
    if (this.policy === null || passage.service === null) return true;
    const service = this.versions.of(passage.service, passage.entry);
    if (service === null) return true;
    const { state } = passage.service.route;
    if (state === 'Stopped' || state === 'Failed') return true; // what is not served is not served from memory
    return this.look(passage, flow, service);
  }

  settle(passage: Passage): void {
    if (passage.cache instanceof Lookup) this.leading.left(passage.cache);
  }

  private look(passage: Passage, flow: Flow, service: CachedService): boolean {
    const request = readRequest(passage, service);
    if (request === null) return true;
    const { headers } = passage.exchange;
    const directives = readDirectives(headers['cache-control'], headers['x-muster-cache']);
    const version = drawVersion(service.versions, this.deps.chance);
    // A server that asks for itself who calls may answer each person otherwise.
    const isPersonal = passage.service?.route.passAuthorization === true;
    if (request.kind === 'bypass' || directives.isSkipped || version === null || isPersonal) {
      const reason = request.kind === 'bypass' ? request.reason : reasonOf(directives.isSkipped, isPersonal);
      return this.bypass(passage, flow, service, { reason, directives });
    }
    const lookup = new Lookup(
      {
        passage,
        flow,
        service,
        request,
        directives,
        wanted: wantedOf(passage.fields),
        key: entryKey(version, request.hash),
      },
      this.deps.nowMs(),
    );
    passage.cache = lookup;
    if (!directives.isRefresh) {
      const entry = this.keeper.local(lookup);
      if (entry !== null && this.serve(lookup, entry, 'local')) return false;
    }
    return this.leading.begin(lookup);
  }

  private bypass(
    passage: Passage,
    flow: Flow,
    service: CachedService,
    why: { readonly reason: string; readonly directives: Directives },
  ): boolean {
    this.metrics.count(this.metrics.bypasses, why.reason);
    service.numbers.results.bypass += 1;
    passage.addHeader('x-muster-cache', 'bypass');
    if (!why.directives.isOnlyIfCached) return true;
    flow.refuse(passage, { code: 'not_cached', message: `This request is not cached: ${why.reason}.` });
    return false;
  }

  /** @returns false when the answer does not fit the request's form: nothing was sent then */
  private serve(lookup: Lookup, entry: Entry, level: Level, exchange = lookup.passage.exchange): boolean {
    const { passage, service } = lookup;
    const rendered = render(lookup, entry);
    if (rendered === null) return false;
    // Before it is sent: the response may be settled within the call.
    lookup.isServed = true;
    lookup.result = results[level];
    service.numbers.results[results[level]] += 1;
    service.numbers.savedInputTokens += entry.inputTokens;
    service.numbers.savedOutputTokens += entry.outputTokens;
    passage.firstByteMs = this.deps.monotonicMs() - passage.startedMs;
    replay(lookup, rendered, level, { nowMs: this.deps.nowMs(), exchange });
    return true;
  }

  private purge(passage: Passage, flow: Flow): void {
    const key = passage.service?.key ?? '';
    this.keeper
      .purge(key)
      .then((purged) => {
        answer(passage.exchange, 200, JSON.stringify({ object: 'cache.purge', model: key, ...purged }), [
          'x-request-id',
          passage.requestId,
        ]);
      })
      .catch((error: unknown) => {
        flow.failed(passage, error);
      });
  }
}

const results: Readonly<Record<Level, CacheResult>> = {
  local: 'hit_local',
  shared: 'hit_shared',
  semantic: 'hit_semantic',
  flight: 'hit_flight',
  stale: 'stale',
};

function reasonOf(isAsked: boolean, isPersonal: boolean): string {
  if (isAsked) return 'asked';
  return isPersonal ? 'personal' : 'no_version';
}
