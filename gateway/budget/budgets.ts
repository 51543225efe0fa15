import { randomBytes } from 'node:crypto';
import type { Budget, BudgetsPolicy } from '../../domain/budget/budget-policy.schema.ts';
import type { Kept } from '../../domain/budget/budget-share.ts';
import type { Amounts, LeaseCall } from '../../domain/budget/lease-book.ts';
import { accountOf, matches } from '../../domain/budget/match.ts';
import type { Spender } from '../../domain/budget/match.ts';
import { windowOf } from '../../domain/budget/period.ts';
import type { Window } from '../../domain/budget/period.ts';
import { BudgetAccount } from './budget-account.ts';
import type { LeaseSource } from './lease-source.ts';

/**
 * All accounts of a gateway: finds those that a request draws from, keeps their slices filled, tells the book what was
 * spent, gives back what lies idle, and begins new windows. Requests never wait for this but when a slice runs dry
 * faster than the next one comes.
 */
export interface BudgetsDeps {
  readonly source: LeaseSource;
  /** Whether several gateways share the source. */
  readonly isShared: boolean;
  readonly gatewayId: string;
  /** Of this gateway, each with a part of the limits where the source is not shared. */
  readonly processes: number;
  /** Gateways that share Redis, as far as was heard. */
  readonly gateways: () => number;
  /** Milliseconds since 1970: which windows there are. */
  readonly now: () => number;
  /** Monotonic: all that lasts for a while, since a clock may be put right at any time. */
  readonly nowMs: () => number;
  /** The accounts of requests are to be looked up again. */
  readonly onChange: () => void;
}

export interface BudgetTimes {
  readonly tickMs: number;
  /** Between two reports of what was spent. */
  readonly tellMs: number;
  /** The same while nothing is spent: the book counts a gateway as gone that says nothing for a minute. */
  readonly idleMs: number;
  /** How often an account that gets nothing more asks again. */
  readonly dryMs: number;
  /** Reports without any spending after which the rest of a slice is given back. */
  readonly idleTells: number;
}

export const defaultBudgetTimes: BudgetTimes = {
  tickMs: 250,
  tellMs: 5_000,
  idleMs: 20_000,
  dryMs: 1_000,
  idleTells: 2,
};

/** Accounts at once; a further key, tenant or model shares the account of `others`. */
const accountsMax = 10_000;
/**
 * How long a window that is over is kept: for requests that began in it, and for a clock that was ahead and comes back,
 * since the book would take an account that is made anew for one that gave everything back.
 */
const lingerMs = 10 * 60_000;
/** Some reports to the ledger: one of them may be lost. */
const reportedMs = 60_000;
/** Clocks of one machine differ, and are put right, by less: no window ends early for that. */
const aheadMs = 60_000;

export class Budgets {
  /** Of the windows of now, by the account's name. */
  readonly accounts = new Map<string, BudgetAccount>();
  /** Of windows that are over or not yet there, and of budgets that are gone, by account and window. */
  readonly closing = new Map<string, BudgetAccount>();
  private readonly deps: BudgetsDeps;
  private readonly times: BudgetTimes;
  private budgets: BudgetsPolicy = [];
  private gatewaysMin = 1;
  /** When the first window of now ends, and when the last one began. */
  private nextWindowMs = Infinity;
  private lastWindowMs = -Infinity;
  private timer: NodeJS.Timeout | undefined;
  private onLease: (account: BudgetAccount) => void = () => undefined;

  constructor(deps: BudgetsDeps, times: BudgetTimes = defaultBudgetTimes) {
    this.deps = deps;
    this.times = times;
  }

  /** @param gateways that are said to share the limits: what counts until Redis knows better */
  use(budgets: BudgetsPolicy, gateways: number): void {
    this.gatewaysMin = Math.max(gateways, this.deps.processes);
    this.budgets = budgets;
    const byId = new Map(budgets.map((budget) => [budget.id, budget]));
    for (const account of this.accounts.values()) {
      const budget = byId.get(account.budget.id);
      if (budget?.period === account.budget.period) account.change(budget);
      else this.retire(account);
    }
    if (budgets.length > 0) this.start();
    this.deps.onChange();
  }

  get isOn(): boolean {
    return this.budgets.length > 0;
  }

  /** Told when a slice came or did not: requests that wait for it can be decided. */
  whenLeased(listener: (account: BudgetAccount) => void): void {
    this.onLease = listener;
  }

  /** The accounts that requests of this spender draw from. */
  accountsOf(spender: Spender): BudgetAccount[] {
    return this.budgets
      .filter((budget) => matches(budget.match, spender))
      .map((budget) => this.account(budget, accountOf(budget.id, budget.per, spender)));
  }

  /** Accounts that the ledger has still to hear of: all but those of windows that are over, once they are settled. */
  reported(): BudgetAccount[] {
    const [now, nowMs] = [this.deps.now(), this.deps.nowMs()];
    const closing = [...this.closing.values()].filter((account) => {
      const { window, share, isTold, retiredMs } = account;
      const { tokens, micros } = share.outstanding;
      const isSettled = isTold && share.inFlight === 0 && tokens + micros === 0;
      return !isSettled || window.endMs > now || nowMs - retiredMs < reportedMs;
    });
    return [...this.accounts.values(), ...closing];
  }

  /** Asks for the next slice, unless a call is under way or there was nothing lately. */
  fill(account: BudgetAccount): void {
    if (account.isAsking || this.isDry(account)) return;
    void this.ask(account);
  }

  /** There was nothing to be had lately. */
  isDry({ dryUntilMs }: BudgetAccount): boolean {
    return this.deps.nowMs() < dryUntilMs;
  }

  /** All slices go back: what is left of them serves others at once. */
  async close(): Promise<void> {
    clearInterval(this.timer);
    this.deps.source.stopWaiting?.();
    const all = [...this.accounts.values(), ...this.closing.values()];
    // The first may be the repetition of a call that is under way.
    for (let round = 0; round < 2; round += 1)
      await Promise.all(all.map((account) => this.tell(account, 'nothing')));
    await this.deps.source.close();
  }

  /** New windows, reports, what lies idle. Called by its own timer; tests call it. */
  tick(): void {
    const now = this.deps.now();
    const nowMs = this.deps.nowMs();
    if (now >= this.nextWindowMs || now < this.lastWindowMs - aheadMs) this.turn(now);
    for (const account of this.accounts.values()) {
      const { share } = account;
      const isIdle = account.isTold && share.inFlight === 0;
      const everyMs = isIdle ? this.times.idleMs : this.times.tellMs;
      if (account.isAsking || nowMs - account.toldMs < everyMs) continue;
      account.idleTells = isIdle ? account.idleTells + 1 : 0;
      void this.tell(account, account.idleTells >= this.times.idleTells ? 'nothing' : 'all');
    }
    this.tickClosing(now, nowMs);
  }

  private tickClosing(now: number, nowMs: number): void {
    for (const [key, account] of this.closing) {
      // One that goes on, or that begins later, may come again, and the book knows what this gateway has of it.
      if (account.window.endMs <= now && nowMs - account.retiredMs > lingerMs) this.closing.delete(key);
      else if (!account.isAsking && account.share.inFlight === 0 && !this.isInVain(account, nowMs))
        void this.tell(account, 'nothing');
    }
  }

  /** The book has just been told all, and had no more for what this account owes. */
  private isInVain({ share, isTold, toldMs }: BudgetAccount, nowMs: number): boolean {
    return isTold && !share.isUnanswered && share.isOwing && nowMs - toldMs < this.times.idleMs;
  }

  private start(): void {
    this.timer ??= setInterval(() => {
      this.tick();
    }, this.times.tickMs).unref();
  }

  private account(budget: Budget, name: string): BudgetAccount {
    const known = this.accounts.get(name);
    if (known !== undefined) return known;
    const others = `${budget.id}/others`;
    if (this.accounts.size >= accountsMax && name !== others) return this.account(budget, others);
    const { isShared, processes, now, nowMs } = this.deps;
    const window = windowOf(budget.period, now());
    const account =
      this.revived(closingKey(name, window), budget) ??
      new BudgetAccount(budget, name, window, isShared ? 1 : processes, this.gatewaysMin);
    account.toldMs = nowMs();
    this.accounts.set(name, account);
    this.heed(window);
    this.fill(account);
    return account;
  }

  private heed({ startMs, endMs }: Window): void {
    this.nextWindowMs = Math.min(this.nextWindowMs, endMs);
    this.lastWindowMs = Math.max(this.lastWindowMs, startMs);
  }

  /** A budget or a window that went and came again: the book knows this gateway's share of it already. */
  private revived(key: string, budget: Budget): BudgetAccount | null {
    const account = this.closing.get(key);
    if (account === undefined) return null;
    this.closing.delete(key);
    account.change(budget);
    return account;
  }

  /** A clock that was ahead may have begun windows that are not there yet: they go as those that are over. */
  private turn(now: number): void {
    [this.nextWindowMs, this.lastWindowMs] = [Infinity, -Infinity];
    for (const account of this.accounts.values()) {
      const { window } = account;
      if (window.endMs > now && window.startMs - aheadMs <= now) this.heed(window);
      else this.retire(account);
    }
    this.deps.onChange();
  }

  private retire(account: BudgetAccount): void {
    this.accounts.delete(account.name);
    account.retiredMs = this.deps.nowMs();
    this.closing.set(closingKey(account.name, account.window), account);
    this.onLease(account); // requests that wait are decided by what is in its place
  }

  private async ask(account: BudgetAccount): Promise<void> {
    const { share } = account;
    const before = share.granted;
    const isOlder = share.isUnanswered;
    const isAnswered = await this.call(account, share.call(this.deps.gatewayId, newEpoch(), needOf(account)));
    // The answer to an older call, which may have given something back: this one has still to be asked.
    if (isAnswered && isOlder)
      await this.call(account, share.call(this.deps.gatewayId, newEpoch(), needOf(account)));
    const { tokens, micros } = share.granted;
    if (tokens <= before.tokens && micros <= before.micros)
      account.dryUntilMs = this.deps.nowMs() + this.times.dryMs;
    const need = needOf(account);
    const isInVain = isAnswered && !share.covers(need.tokens, need.micros);
    this.onLease(account);
    if (!isInVain || !share.hasExcess || account.isAsking) return;
    // What was granted for requests that it does not cover after all is for others to use, but for a slice; and for the
    // next request here, which may need less.
    account.dryUntilMs = -Infinity;
    await this.tell(account, 'slice');
  }

  private async tell(account: BudgetAccount, kept: Kept): Promise<void> {
    const { share } = account;
    const spent = share.spentTokens + share.spentMicros;
    const isNothingHeld = share.outstanding.tokens + share.outstanding.micros === 0;
    if (account.isTold && isNothingHeld && !share.isOwing) {
      account.toldMs = this.deps.nowMs();
      return;
    }
    const isAnswered = await this.call(account, share.callToReturn(this.deps.gatewayId, newEpoch(), kept));
    if (isAnswered) account.toldSpent = spent;
    if (account.waiting.length > 0) this.fill(account); // they came while this call was under way
  }

  /** @returns whether the book answered */
  private async call(account: BudgetAccount, call: LeaseCall): Promise<boolean> {
    const { share, window, key } = account;
    account.isAsking = true;
    const answer = await this.deps.source.lease(key, window.endMs, share.limits, call);
    account.isAsking = false;
    account.toldMs = this.deps.nowMs();
    account.isUnheard = answer === null && !this.deps.isShared;
    if (answer !== null) {
      share.answered(answer);
      return true;
    }
    if (account.isUnheard) {
      // What was granted before stands in a journal that another process still has: a part of the limit taken now
      // might be spent already. So those that wait are decided without it.
      account.dryUntilMs = this.deps.nowMs() + this.times.dryMs;
      this.onLease(account);
      return false;
    }
    share.gateways = Math.max(share.gateways, this.gatewaysMin, this.deps.gateways());
    if (share.takeOffline(needOf(account))) account.offlineGrants += 1;
    return false;
  }
}

/** What the requests that wait may use, together. */
function needOf({ waiting }: BudgetAccount): Amounts {
  let [tokens, micros] = [0, 0];
  for (const passage of waiting) {
    tokens += passage.estimatedTokens;
    micros += passage.estimatedMicros;
  }
  return { tokens, micros };
}

function closingKey(name: string, window: Window): string {
  return `${name}|${window.key}`;
}

function newEpoch(): string {
  return randomBytes(8).toString('hex');
}
