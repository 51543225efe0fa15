import { LRUCache } from 'lru-cache';
import type { Registry } from 'prom-client';
import { anonymous, ownerOf } from '../../domain/access/caller.ts';
import type { Candidate } from '../../domain/routing/pick.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';
import { plainMetrics } from '../observe/plain-metrics.ts';
import type { Passage } from '../passage.ts';
import { boundTo } from '../pick/bound.ts';
import type { Picker } from '../pick/picker.ts';
import type { Flow, ResponseTap, Step } from '../step.ts';
import type { Endpoint } from '../upstream/endpoints.ts';

/**
 * Which server made a stored response (POST /v1/responses): it alone knows it, so reading, cancelling, deleting and
 * going on from it (`previous_response_id`) go there. Kept in this process, for the last `responsesMax` responses, and
 * only for who made them; a response of another gateway process is unknown here and answered 404.
 */
interface Home {
  readonly service: string;
  readonly address: string;
  readonly owner: string;
}

const responsesMax = 100_000;

export class StoredResponses implements Step {
  readonly name = 'stored responses';
  private readonly homes = new LRUCache<string, Home>({ max: responsesMax });

  constructor(registry: Registry) {
    plainMetrics(registry, 'muster_gateway_').gauge(
      'stored_responses',
      'Stored responses whose server is known',
      () => this.homes.size,
    );
  }

  /** @returns the key of the service that has the response, or null; the passage is bound to its server */
  find(passage: Passage, id: string): string | null {
    const home = this.homes.get(id);
    if (home?.owner !== ownerOf(passage.caller ?? anonymous)) return null;
    passage.pinned = home.address;
    return home.service;
  }

  /** The service that made the response which the request goes on from; null: it goes on from none that is known. */
  homeOf(passage: Passage): string | null {
    const previous = passage.fields?.['previous_response_id'];
    return typeof previous === 'string' ? this.find(passage, previous) : null;
  }

  enter(passage: Passage, flow: Flow): boolean {
    if (passage.operation.head !== '/v1/responses') return true;
    const previous = passage.fields?.['previous_response_id'];
    if (typeof previous === 'string' && this.find(passage, previous) === null && this.homes.has(previous)) {
      // Somebody else's: any server would go on from it.
      const message = `Previous response with id '${previous}' not found.`;
      flow.refuse(passage, { code: 'response_not_found', message, param: 'previous_response_id' });
      return false;
    }
    passage.tapInto(
      new IdTap((id) => {
        const { service, candidate, caller } = passage;
        if (service === null || candidate === null) return;
        this.homes.set(id, {
          service: service.key,
          address: candidate.address,
          owner: ownerOf(caller ?? anonymous),
        });
      }),
    );
    return true;
  }
}

/**
 * A request that is bound to a server goes there or, while that server cannot be asked, nowhere: any other would say
 * that there is no such response. Once the server has left the table the response is gone, and any may say so.
 */
export function pinnedPicker(inner: Picker): Picker {
  return {
    pick: (passage, service, tried, nowMs) => {
      const address = boundTo(passage, service);
      return address === null ? inner.pick(passage, service, tried, nowMs) : readyAt(address, service);
    },
  };
}

function readyAt(address: string, service: RoutedService<Endpoint>): Candidate<Endpoint> | null {
  for (const { ready } of service.targets) {
    const found = ready.find((candidate) => candidate.address === address);
    if (found !== undefined) return found;
  }
  return null;
}

/** The id stands at the begin of the answer, whole or as the first event of a stream. */
const lookBytesMax = 16 * 1024;
const idPattern = /"id"\s*:\s*"(resp_[\w-]{1,256})"/;

class IdTap implements ResponseTap {
  private text = '';
  private isLooking = false;
  private readonly onId: (id: string) => void;

  constructor(onId: (id: string) => void) {
    this.onId = onId;
  }

  onHead(status: number): void {
    this.isLooking = status === 200;
  }

  onData(chunk: Uint8Array): void {
    if (!this.isLooking) return;
    this.text += Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString('latin1');
    const id = idPattern.exec(this.text)?.[1];
    if (id !== undefined) this.onId(id);
    if (id !== undefined || this.text.length > lookBytesMax) this.isLooking = false;
  }

  onEnd(): void {
    this.isLooking = false;
  }
}
