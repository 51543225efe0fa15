import { Redis } from 'ioredis';
import { forgottenAfterMs, goneAfterMs } from '../../domain/budget/lease-book.ts';
import { budgetKey, settleLua } from '../../domain/budget/lease-script.ts';
import type { WindowSpending } from '../../domain/usage/usage-record.schema.ts';

/** What became of one book: null when there is none, or it is too young to know all gateways. */
export interface SettledBook {
  readonly gone: number;
  readonly returnedTokens: number;
  readonly returnedMicros: number;
}

/** The books of budgets that gateways share. */
export interface Books {
  /** @throws when Redis does not answer */
  settle(window: WindowSpending): Promise<SettledBook | null>;
  close(): void;
}

const ages = [goneAfterMs, forgottenAfterMs];

/** Connects when first asked, so that a worker starts without Redis. */
export function redisBooks(url: string): Books {
  const redis = new Redis(url, {
    lazyConnect: true,
    maxRetriesPerRequest: 2,
    commandTimeout: 5_000,
    disableClientInfo: true,
  });
  redis.on('error', () => undefined); // the command that fails says so
  return {
    async settle({ window, spent }) {
      const known = spent.flatMap(({ gateway, tokens, micros }) => [gateway, tokens, micros]);
      const answer: unknown = await redis.eval(settleLua, 1, budgetKey(window), ...ages, ...known);
      if (!Array.isArray(answer) || answer.length !== 3) return null;
      const [returnedTokens = 0, returnedMicros = 0, gone = 0] = (answer as unknown[]).map(Number);
      return { gone, returnedTokens, returnedMicros };
    },
    close: () => {
      redis.disconnect();
    },
  };
}
