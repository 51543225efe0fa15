import type { Caller } from '../access/caller.ts';
import type { Counting } from './counting.schema.ts';

/** Whose requests, for which model: all that budgets and rate limits look at. */
export interface Spender {
  readonly caller: Caller;
  readonly namespace: string;
  /** As it counts, see `countedName`: what callers write is bounded by the table, and none evades by another spelling. */
  readonly model: string;
  /** Whose model it is, without its namespace. */
  readonly service?: string;
}

/** Whether requests of this spender count. What `match` leaves out matches all. */
export function matches(match: Counting['match'], spender: Spender): boolean {
  const { caller, namespace, model, service } = spender;
  return (
    (match.key === undefined || match.key === caller.id) &&
    (match.tenant === undefined || match.tenant === caller.tenant) &&
    (match.namespace === undefined || match.namespace === namespace) &&
    (match.model === undefined ||
      isNamed(match.model, namespace, model) ||
      (service !== undefined && isNamed(match.model, namespace, service)))
  );
}

function isNamed(name: string, namespace: string, own: string): boolean {
  return name === own || name === `${namespace}/${own}`;
}

/** The name of the account: the budget's (or limit's) id, and whose it is where each has its own. */
export function accountOf(id: string, per: Counting['per'], { caller, model }: Spender): string {
  switch (per) {
    case undefined:
      return id;
    case 'key':
      return `${id}/${caller.id}`;
    case 'tenant':
      return `${id}/${caller.tenant}`;
    case 'model':
      return `${id}/${model}`;
  }
}
