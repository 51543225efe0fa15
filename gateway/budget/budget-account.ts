import type { Budget } from '../../domain/budget/budget-policy.schema.ts';
import { BudgetShare } from '../../domain/budget/budget-share.ts';
import type { Amounts, Limits } from '../../domain/budget/lease-book.ts';
import type { Window } from '../../domain/budget/period.ts';
import type { Passage } from '../passage.ts';

/** One budget in one window, as this gateway holds it. Requests in flight keep theirs when the next window begins. */
export class BudgetAccount {
  budget: Budget;
  /** Budget's id, and whose it is where each has its own. */
  readonly name: string;
  readonly window: Window;
  readonly share: BudgetShare;
  /** Names it in books and in the ledger: account and window. */
  readonly key: string;
  /** The same as JSON. */
  readonly keyText: string;
  private readonly parts: number;
  /** A call is on its way. */
  isAsking = false;
  /** The gateway's own book did not answer the last call: its journal is not to be had yet. */
  isUnheard = false;
  /** Nothing more was to be had: not asked again before. Monotonic, as are the next two. */
  dryUntilMs = -Infinity;
  /** When the last call was answered, and what was spent then. */
  toldMs = -Infinity;
  toldSpent = -1;
  /** When its window was over, or its budget was gone. */
  retiredMs = -Infinity;
  idleTells = 0;
  refused = 0;
  wouldRefuse = 0;
  offlineGrants = 0;
  /** Requests that wait for a slice. */
  waiting: Passage[] = [];

  /**
   * @param parts processes that hold a part of the limit each, without a common book; 1 where there is one
   * @param gateways that share the book, as far as is known
   */
  constructor(budget: Budget, name: string, window: Window, parts: number, gateways: number) {
    this.budget = budget;
    this.name = name;
    this.window = window;
    this.parts = parts;
    this.key = `${name.slice(0, 900)}|${window.key}`;
    this.keyText = JSON.stringify(this.key);
    this.share = new BudgetShare(limitsOf(budget, parts), sliceOf(budget, parts), gateways);
  }

  /** The same budget with other limits. */
  change(budget: Budget): void {
    this.budget = budget;
    this.share.change(limitsOf(budget, this.parts), sliceOf(budget, this.parts));
    this.dryUntilMs = -Infinity;
  }

  /** The book knows all that was spent. */
  get isTold(): boolean {
    return this.share.spentTokens + this.share.spentMicros === this.toldSpent;
  }

  get isShadow(): boolean {
    return this.budget.mode === 'shadow';
  }
}

function limitsOf(budget: Budget, parts: number): Limits {
  return { tokens: part(budget.limitTokens, parts), micros: part(budget.limitCostMicros, parts) };
}

function part(limit: number | undefined, parts: number): number {
  return limit === undefined ? Infinity : Math.floor(limit / parts);
}

function sliceOf(budget: Budget, parts: number): Amounts {
  const limits = limitsOf(budget, parts);
  return {
    tokens: bounded(budget.sliceTokens, limits.tokens),
    micros: bounded(budget.sliceCostMicros, limits.micros),
  };
}

function bounded(slice: number | undefined, limit: number): number {
  if (limit === Infinity) return 0;
  return Math.min(slice ?? Math.max(1, Math.ceil(limit / 100)), Math.max(1, limit));
}
