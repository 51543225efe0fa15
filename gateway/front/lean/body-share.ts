import type { BodyBudget } from '../body-budget.ts';

/** What one connection holds of the room for request bodies, and whether as a stranger. */
export class BodyShare {
  bytes = 0;
  isStranger = false;
  private readonly budget: BodyBudget;

  constructor(budget: BodyBudget) {
    this.budget = budget;
  }

  /** @returns false when there is no room for so many bytes more */
  take(bytes: number): boolean {
    if (!this.budget.take(bytes, this.isStranger)) return false;
    this.bytes += bytes;
    return true;
  }

  /** Gives all of it back. */
  release(): void {
    this.budget.give(this.bytes, this.isStranger);
    this.bytes = 0;
    this.isStranger = false;
  }
}
