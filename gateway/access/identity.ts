import type { Caller } from '../../domain/access/caller.ts';
import { hasScope } from '../../domain/access/may.ts';
import type { Scope } from '../../domain/access/access-policy.schema.ts';

/**
 * Who a credential stands for, with all that a request asks of it worked out before: a request costs a look at its
 * fields. An identity ends with its time or with its generation, whichever is first.
 */
export interface Identity {
  readonly caller: Caller;
  readonly mayInfer: boolean;
  readonly mayAdmin: boolean;
  readonly mayReadMetrics: boolean;
  /** By the clock of `Passage.startedMs`. */
  readonly untilMs: number;
  readonly generation: Generation;
}

/** Everything that was decided under one set of keys, issuers or modes; over as soon as another set is in force. */
export interface Generation {
  isOver: boolean;
}

export function identityOf(caller: Caller, generation: Generation, untilMs: number): Identity {
  return {
    caller,
    mayInfer: hasScope(caller, 'infer'),
    mayAdmin: hasScope(caller, 'admin'),
    mayReadMetrics: hasScope(caller, 'metrics'),
    untilMs,
    generation,
  };
}

export function isGood(identity: Identity, nowMs: number): boolean {
  return !identity.generation.isOver && nowMs < identity.untilMs;
}

export function allows(identity: Identity, scope: Scope | null): boolean {
  switch (scope) {
    case null:
      return true;
    case 'infer':
      return identity.mayInfer;
    case 'admin':
      return identity.mayAdmin;
    case 'metrics':
      return identity.mayReadMetrics;
    case '*':
      return identity.caller.scopes.includes('*');
  }
}
