/**
 * How many requests may be repeated (or asked twice), so that a sick service is not asked more the sicker it is:
 * each request earns a share of a repetition, each second earns a few, each repetition costs one. What was earned
 * is kept up to ten seconds' worth of the minimum or a fixed burst, whichever is more: Finagle's retry budget.
 */
export interface BudgetRates {
  /** Earned by each request, 0 to 1. */
  readonly perRequest: number;
  /** Earned by each second. */
  readonly perSecond: number;
}

const windowSeconds = 10;
const burst = 100;

export class RetryBudget {
  refused = 0;
  private rates: BudgetRates;
  private balance: number;
  private atMs: number;

  constructor(rates: BudgetRates, nowMs: number) {
    this.rates = rates;
    this.balance = rates.perSecond * windowSeconds;
    this.atMs = nowMs;
  }

  /** What was earned under the old rates stays. */
  use(rates: BudgetRates): void {
    this.rates = rates;
  }

  /** Called with each request that comes, not with its repetitions. */
  earn(): void {
    this.balance += this.rates.perRequest;
  }

  /** @returns false: the request must not be repeated */
  spend(nowMs: number): boolean {
    const { perRequest, perSecond } = this.rates;
    const cap = Math.max(perSecond * windowSeconds, perRequest > 0 ? burst : 0);
    const earned = (Math.max(0, nowMs - this.atMs) / 1000) * perSecond;
    this.balance = Math.min(cap, this.balance + earned);
    this.atMs = nowMs;
    if (this.balance < 1) {
      this.refused += 1;
      return false;
    }
    this.balance -= 1;
    return true;
  }

  /** What was spent was not needed. */
  refund(): void {
    this.balance += 1;
  }
}
