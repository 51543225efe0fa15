import { anonymous } from '../../domain/access/caller.ts';
import { compilePrices } from '../../domain/usage/price.ts';
import type { PricesPolicy } from '../../domain/usage/prices-policy.schema.ts';
import type { Passage } from '../passage.ts';
import { planFor } from '../plan.ts';
import type { Refusal } from '../errors.ts';
import type { Flow, Step } from '../step.ts';
import type { Meter, Meters } from './meters.ts';
import { UsageHidingExchange, askForUsage } from './stream-usage.ts';
import { UsageTap } from './usage-tap.ts';

/** What is told of each answered request, once. */
export type OnUsed = (passage: Passage, meter: Meter) => void;

export interface UsageStepDeps {
  readonly meters: Meters;
  /** Whether tokens of these requests count against something, so that streams must tell them. */
  readonly isCounted: (meter: Meter) => boolean;
  readonly onUsed: OnUsed;
}

/**
 * The first of the steps that count: finds what counting needs (price, budgets, limits) and listens to the answer.
 * V1 and V2 requests are counted and have a price each; they have no tokens. What a transformer or explainer asks of its
 * predictor has no meter: it is part of a request that is counted.
 */
export class UsageStep implements Step {
  readonly name = 'usage';
  private readonly deps: UsageStepDeps;

  constructor(deps: UsageStepDeps) {
    this.deps = deps;
  }

  use(prices: PricesPolicy): void {
    this.deps.meters.use(compilePrices(prices));
  }

  enter(passage: Passage, flow: Flow): boolean {
    const { kind } = passage.operation;
    const { service, modelRoute } = passage;
    if (service === null || passage.isPart || !isCountedKind(kind)) return true;
    const caller = passage.caller ?? anonymous;
    const meter = this.deps.meters.of(service, passage.model, caller, modelRoute);
    passage.meter = meter;
    if (kind === 'v1-call' || kind === 'v2-call' || kind === 'v1-explain') return true;
    if (isInBackground(passage) && this.deps.isCounted(meter)) {
      flow.refuse(passage, uncounted);
      return false;
    }
    const tap = new UsageTap(passage, meter.price, hasTokens(passage.operation.head));
    if (passage.fields?.['stream'] === true && canAsk(passage) && this.deps.isCounted(meter))
      askInPlace(passage, tap);
    passage.usageTap = tap;
    passage.tapInto(tap);
    return true;
  }

  settle(passage: Passage): void {
    const { meter } = passage;
    if (meter === null) return;
    finalCost(passage);
    if (passage.usage === null && !wasAnsweredWithoutTokens(passage)) return;
    const { numbers } = meter;
    numbers.requests += 1;
    numbers.costMicros += passage.costMicros;
    if (passage.usage !== null) {
      if (passage.isUsageEstimated) numbers.estimated += 1;
      numbers.inputTokens += passage.usage.inputTokens;
      numbers.cachedInputTokens += passage.usage.cachedInputTokens;
      numbers.outputTokens += passage.usage.outputTokens;
    }
    this.deps.onUsed(passage, meter);
  }
}

/** The server says what it used long after its answer: nothing here would hear of it, and no budget would hold. */
const uncounted: Refusal = {
  code: 'invalid_request',
  message:
    'Responses made in the background are not served where tokens are counted (prices, budgets, rate limits): leave `background` out.',
  param: 'background',
};

function isInBackground({ operation, fields }: Passage): boolean {
  return operation.head === '/v1/responses' && fields?.['background'] === true;
}

function isCountedKind(kind: Passage['operation']['kind']): boolean {
  switch (kind) {
    case 'openai-call':
    case 'openai-form':
    case 'anthropic-call':
    case 'v1-call':
    case 'v1-explain':
    case 'v2-call':
      return true;
    default:
      return false;
  }
}

/** Paths whose answers are made of tokens. */
export function hasTokens(path: string): boolean {
  return path === '/v1/chat/completions' || path === '/v1/completions' || path === '/v1/responses';
}

/** Sets what a request used and costs, as far as its answer came; called by the first step that settles. */
export function finalCost(passage: Passage): void {
  passage.usageTap?.onEnd();
  if (passage.costMicros >= 0) return;
  passage.costMicros = wasAnsweredWithoutTokens(passage) ? (passage.meter?.price?.perRequest ?? 0) : 0;
}

/** V1 and V2: a server answered, and well. Answers of the cache come from no server. */
function wasAnsweredWithoutTokens(passage: Passage): boolean {
  const { status } = passage.exchange;
  return (
    passage.operation.protocol.startsWith('v') &&
    passage.candidate !== null &&
    passage.refused === null &&
    status >= 200 &&
    status < 300
  );
}

function canAsk({ operation, fields }: Passage): boolean {
  const { head } = operation;
  if (head !== '/v1/chat/completions' && head !== '/v1/completions') return false;
  return fields !== null && !('stream_options' in fields);
}

/** All later steps see a client that asked; the client itself sees a stream as it asked for it. */
function askInPlace(passage: Passage, tap: UsageTap): void {
  const { body, service, fields } = passage;
  const asking = body === null ? null : askForUsage(body);
  if (asking === null || service === null) return;
  passage.body = asking;
  passage.fields = { ...fields, stream_options: { include_usage: true } };
  passage.plan = planFor(passage, service);
  passage.exchange = new UsageHidingExchange(passage.exchange, tap);
}
