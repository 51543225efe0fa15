import type { PrefixState } from '../../domain/routing/prefix/prefix-pick.ts';
import type { Passage } from '../passage.ts';

/**
 * Whom the picker counts as computing the prompt of a request. It counts one server, the one picked last: where a
 * second one was picked beside the first, and the first is the one that goes on, the prompt is its again.
 */
export interface PromptCharge {
  readonly prefix: PrefixState;
  readonly bytes: number;
}

export function chargeOf({ prefix, prefixBytes }: Passage): PromptCharge | null {
  return prefix === null ? null : { prefix, bytes: prefixBytes };
}

/** @param charge null: no prompt was in hand anywhere, and none is */
export function putBack(passage: Passage, charge: PromptCharge | null): void {
  if (passage.prefix === null || charge === null) return;
  passage.prefix.uncachedBytes -= passage.prefixBytes;
  charge.prefix.uncachedBytes += charge.bytes;
  passage.prefix = charge.prefix;
  passage.prefixBytes = charge.bytes;
}
