import type { Caller } from '../../domain/access/caller.ts';
import type { Passage } from '../passage.ts';
import type { Flow, Step } from '../step.ts';

/**
 * A transformer or explainer asks its predictor through the gateway, and KServe's SDK hands on the request's id and
 * no credential. So for as long as the first request is under way, a request of its id to that service's predictor is
 * its caller's; it is the same piece of work, and is not charged again.
 */
export class ChainCallers implements Step {
  readonly name = 'chain callers';
  /** By request id; as many as chained requests are in flight. */
  private readonly underWay = new Map<string, { readonly passage: Passage; readonly predictor: string }>();

  get size(): number {
    return this.underWay.size;
  }

  /** @param key of the service whose component is asked */
  open(passage: Passage, key: string): void {
    this.underWay.set(passage.requestId, { passage, predictor: `${key}-predictor` });
  }

  enter(passage: Passage, _flow: Flow): boolean {
    if (this.underWay.size === 0 || passage.caller !== null) return true;
    const { prefix } = passage.operation;
    const first = this.underWay.get(passage.requestId);
    if (prefix === null || first === undefined || `${prefix.namespace}/${prefix.name}` !== first.predictor)
      return true;
    if (first.passage.caller !== null) passage.caller = asPart(first.passage.caller);
    return true;
  }

  settle(passage: Passage): void {
    if (passage.entry !== null && this.underWay.get(passage.requestId)?.passage === passage)
      this.underWay.delete(passage.requestId);
  }
}

function asPart(caller: Caller): Caller {
  return { ...caller, kind: 'internal', scopes: ['infer'] };
}
