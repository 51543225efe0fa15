import { Counter, Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import type { PickCounts } from '../pick/prefix-picker.ts';
import type { Endpoint } from '../upstream/endpoints.ts';

/**
 * How endpoints are chosen, read from plain numbers when scraped. The hit ratio is cached blocks by all blocks: what
 * servers should have found of the prompts, as far as this process knows.
 *
 * @param endpoints those of the table
 */
export function registerPickMetrics(
  registry: Registry,
  counts: PickCounts,
  endpoints: () => Iterable<Endpoint>,
): void {
  const registers = [registry];
  new Counter({
    name: 'muster_gateway_pick_total',
    help: 'Endpoints chosen: held, new, overload, share by prompts (gateway/README.md); load by load alone',
    labelNames: ['reason'],
    registers,
    collect() {
      this.reset();
      for (const [reason, count] of Object.entries(counts.picks)) this.inc({ reason }, count);
    },
  });
  new Counter({
    name: 'muster_gateway_pick_prompt_blocks_total',
    help: 'Blocks of prompts: those that their endpoint should have had, and the others',
    labelNames: ['state'],
    registers,
    collect() {
      this.reset();
      this.inc({ state: 'cached' }, counts.cachedBlocks);
      this.inc({ state: 'new' }, counts.blocks - counts.cachedBlocks);
    },
  });
  new Gauge({
    name: 'muster_gateway_endpoint_in_flight',
    help: 'Requests of this process at each endpoint',
    labelNames: ['endpoint'],
    registers,
    collect() {
      this.reset();
      for (const { address, inFlight } of endpoints()) this.set({ endpoint: address }, inFlight);
    },
  });
  new Gauge({
    name: 'muster_gateway_endpoint_uncached_bytes',
    help: 'Prompt bytes that each endpoint has yet to compute for the requests that it has in hand',
    labelNames: ['endpoint'],
    registers,
    collect() {
      this.reset();
      for (const { address, prefix } of endpoints()) this.set({ endpoint: address }, prefix.uncachedBytes);
    },
  });
}
