import { isEligible, isWell } from '../../domain/routing/pick.ts';
import type { Load } from '../../domain/routing/pick.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';
import type { Passage } from '../passage.ts';
import { boundTo } from '../pick/bound.ts';
import type { Endpoint } from '../upstream/endpoints.ts';
import { putBack } from './prompt-charge.ts';
import type { PromptCharge } from './prompt-charge.ts';
import type { Try } from './try.ts';

export type Untried = 'eligible' | 'well' | 'any';

const suits: Readonly<Record<Untried, (load: Load, nowMs: number) => boolean>> = {
  eligible: isEligible,
  well: isWell,
  any: () => true,
};

/** The servers that were asked for one request, and those that are still at it: one, and perhaps a rival. */
export class Tries {
  current: Try | null = null;
  /** A second server that was asked because the first is slow. */
  rival: Try | null = null;
  /** The prompt in hand at the first server, before the rival was picked. */
  charge: PromptCharge | null = null;
  /** Addresses, of the service that is asked now. */
  readonly asked: string[] = [];
  /** Servers that cut its stream; null: none did. */
  private cutBy: string[] | null = null;
  private readonly passage: Passage;

  constructor(passage: Passage) {
    this.passage = passage;
  }

  /** The first good head is the answer; the other server is told to stop at once. @returns whether the rival won */
  win(one: Try): boolean {
    const isRival = one === this.rival;
    const other = isRival ? this.current : this.rival;
    other?.abort();
    if (!isRival && this.rival !== null) putBack(this.passage, this.charge);
    this.current = one;
    this.rival = null;
    this.passage.candidate = one.candidate;
    return isRival;
  }

  /** @returns whether the other server still works on the request */
  lose(one: Try): boolean {
    if (one === this.current) this.current = this.rival;
    else putBack(this.passage, this.charge);
    this.rival = null;
    if (this.current === null) return false;
    this.passage.candidate = this.current.candidate;
    return true;
  }

  /** The stream of an answer that had begun is lost. */
  cut(one: Try): void {
    this.current = null;
    one.abort();
    (this.cutBy ??= []).push(one.candidate.address);
  }

  /** For the rest of a stream: a server that refused, or had no time before, is better than an end in the middle. */
  forgetAllButCuts(): void {
    this.asked.splice(0, Infinity, ...(this.cutBy ?? []));
  }

  /** All are told to stop. */
  drop(): void {
    this.current?.abort();
    this.rival?.abort();
    this.current = null;
    this.rival = null;
  }

  /**
   * Whether a ready endpoint in traffic is left.
   *
   * @param which `eligible`: only one that is not ejected and has a place; `well`: only one that is not ejected
   */
  hasUntried(service: RoutedService<Endpoint>, nowMs: number, which: Untried): boolean {
    const sole = boundTo(this.passage, service);
    for (const { percent, ready } of service.targets) {
      if (percent <= 0) continue;
      for (const { address, load } of ready) {
        if (sole !== null && address !== sole) continue;
        if (suits[which](load, nowMs) && !this.asked.includes(address)) return true;
      }
    }
    return false;
  }
}
