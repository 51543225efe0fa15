import { anonymous } from '../../domain/access/caller.ts';
import type { UsagePolicy } from '../../domain/usage/usage-policy.schema.ts';
import type { Refusal } from '../errors.ts';
import type { Passage } from '../passage.ts';
import type { Flow, Step } from '../step.ts';
import { estimateRequest } from '../usage/estimate-request.ts';
import type { Meter } from '../usage/meters.ts';
import { finalCost } from '../usage/usage-step.ts';
import type { BudgetAccount } from './budget-account.ts';
import type { Budgets } from './budgets.ts';

/** Requests that wait for one account's slice; more are refused. */
const waitingMax = 1_000;

/**
 * Sets aside what a request may use before it goes on, and puts the truth in its place afterwards, in memory alone.
 * A request that its budget does not cover is refused; where the next slice is on its way, it waits for that.
 */
export class BudgetStep implements Step {
  readonly name = 'budget';
  private readonly budgets: Budgets;
  private readonly now: () => number;
  private usage: UsagePolicy = { unsaidOutputTokens: 0, outputTokensMax: 0 };
  private flow: Flow | null = null;

  constructor(budgets: Budgets, now: () => number) {
    this.budgets = budgets;
    this.now = now;
    budgets.whenLeased((account) => {
      this.goOn(account);
    });
  }

  use(usage: UsagePolicy): void {
    this.usage = usage;
  }

  enter(passage: Passage, flow: Flow): boolean {
    const { meter } = passage;
    if (meter === null || !this.budgets.isOn) return true;
    const accounts = this.accountsOf(passage, meter);
    if (accounts.length === 0) return true;
    estimateRequest(passage, meter, this.usage);
    this.flow = flow;
    return this.reserve(passage, accounts, flow);
  }

  settle(passage: Passage): void {
    const { budgets } = passage;
    if (budgets === null) return;
    finalCost(passage);
    const { usage } = passage;
    const tokens = usage === null ? 0 : usage.inputTokens + usage.outputTokens;
    for (const { share } of budgets)
      share.settle(passage.estimatedTokens, passage.estimatedMicros, tokens, passage.costMicros);
  }

  private accountsOf(passage: Passage, meter: Meter): readonly BudgetAccount[] {
    return (meter.budgets ??= this.budgets.accountsOf({
      caller: passage.caller ?? anonymous,
      namespace: passage.service?.route.namespace ?? '',
      model: meter.numbers.model,
      service: meter.numbers.service,
    }));
  }

  /** @returns true when it goes on; false when it was refused or waits */
  private reserve(passage: Passage, accounts: readonly BudgetAccount[], flow: Flow): boolean {
    const { estimatedTokens: tokens, estimatedMicros: micros } = passage;
    for (const account of accounts) {
      if (account.share.covers(tokens, micros)) continue;
      const isDry = this.budgets.isDry(account) || account.waiting.length >= waitingMax;
      if (!isDry && !account.isShadow) {
        account.waiting.push(passage);
        this.budgets.fill(account);
        return false;
      }
      if (!isDry) this.budgets.fill(account);
      else if (!this.isPassed(passage, account, flow)) return false;
    }
    for (const account of accounts) {
      account.share.reserve(tokens, micros);
      if (account.share.isLow()) this.budgets.fill(account);
    }
    passage.budgets = accounts;
    return true;
  }

  /** @returns whether the budget only looks on */
  private isPassed(passage: Passage, account: BudgetAccount, flow: Flow): boolean {
    if (account.isShadow) {
      account.wouldRefuse += 1;
      passage.addHeader('x-muster-budget-shadow', account.budget.id);
      return true;
    }
    account.refused += 1;
    flow.refuse(passage, account.isUnheard ? notHeard(account) : usedUp(account, this.now()));
    return false;
  }

  /** A slice came, or none, or a new window began: all that wait are decided, in their order. */
  private goOn(account: BudgetAccount): void {
    const { flow } = this;
    if (account.waiting.length === 0 || flow === null) return;
    const { waiting } = account;
    account.waiting = [];
    for (const passage of waiting) {
      const { meter } = passage;
      if (passage.isClosed || meter === null) continue;
      meter.budgets = null; // a new window may have begun
      if (this.reserve(passage, this.accountsOf(passage, meter), flow)) flow.proceed(passage);
    }
  }
}

function notHeard({ budget }: BudgetAccount): Refusal {
  const message = `The gateway does not know yet what is left of the budget '${budget.id}'.`;
  return { code: 'gateway_not_ready', message };
}

function usedUp({ budget, window }: BudgetAccount, nowMs: number): Refusal {
  const code = 'insufficient_quota';
  if (window.endMs === Infinity) return { code, message: `The budget '${budget.id}' is used up.` };
  const until = new Date(window.endMs).toISOString();
  return {
    code,
    message: `The budget '${budget.id}' does not cover this request; it begins anew at ${until}.`,
    retryAfterS: Math.max(1, Math.ceil((window.endMs - nowMs) / 1000)),
  };
}
