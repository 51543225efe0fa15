import { tierOf } from '../../domain/access/tier-of.ts';
import type { Tier } from '../../domain/qos/tier.ts';
import { single } from '../front/headers.ts';
import type { Passage } from '../passage.ts';

/** The tier of one request: its caller's, or a lower one that the request asks for. */
export function tierFor({ caller, exchange }: Passage): Tier {
  const own = caller?.tier ?? 'standard';
  const asked = single(exchange.headers['x-muster-tier']);
  return asked === null ? own : (tierOf(own, asked) ?? own);
}
