import { createHash, timingSafeEqual } from 'node:crypto';
import type { Caller } from '../../domain/access/caller.ts';
import { tierOf } from '../../domain/access/tier-of.ts';
import { CallerRecord } from '../../domain/batch/batch.schema.ts';
import { goneCaller, noCredential } from '../access/refusals.ts';
import type { Refusal } from '../errors.ts';
import type { Exchange } from '../front/exchange.ts';
import { WrappedExchange } from '../front/wrapped-exchange.ts';
import type { Passage } from '../passage.ts';
import type { Flow, Step } from '../step.ts';
import type { ControlLink } from './control-link.ts';

/**
 * Muster's own workers ask in somebody's name (the lines of a batch): they show the installation's internal token and
 * say for whom. Anybody else who sends these headers is refused, so nobody can name himself. What was stored says who
 * it is and how urgent; what he may is what the policy in force says of him now.
 */
export class InternalCaller implements Step {
  readonly name = 'internal caller';
  private readonly link: ControlLink;
  /** The token that was shown and found good last; '' before. */
  private accepted = '';
  private readonly present: (stored: Caller) => Caller | null;

  /** @param present who a caller is by now; null: nobody that is known any more */
  constructor(link: ControlLink, present: (stored: Caller) => Caller | null) {
    this.link = link;
    this.present = present;
  }

  /** It shows the token that was good last: its body is no stranger's. */
  knows({ headers }: Exchange): boolean {
    const given = headers['x-muster-internal'];
    return typeof given === 'string' && this.accepted !== '' && isSame(given, this.accepted);
  }

  enter(passage: Passage, flow: Flow): boolean {
    const { headers } = passage.exchange;
    const given = headers['x-muster-internal'];
    if (given === undefined || passage.caller !== null) return true;
    const { client } = this.link;
    if (client === null || typeof given !== 'string') {
      flow.refuse(passage, unknown);
      return false;
    }
    client
      .currentToken()
      .then((token) => {
        const isOurs = isSame(given, token);
        if (isOurs) this.accepted = given;
        const stored = isOurs ? readCaller(headers['x-muster-caller']) : null;
        const caller = stored === null ? null : this.present(stored);
        if (stored === null || caller === null) {
          flow.refuse(passage, stored === null ? unknown : noLonger(stored));
          return;
        }
        passage.caller = { ...caller, tier: tierOf(caller.tier, stored.tier) ?? caller.tier };
        passage.exchange = new UnnamedExchange(passage.exchange);
        flow.proceed(passage);
      })
      .catch((error: unknown) => {
        flow.failed(passage, error);
      });
    return false;
  }
}

/** The request without the token and the name: what later steps see, log or hand on holds neither. */
class UnnamedExchange extends WrappedExchange {
  private readonly rest: Exchange['headers'];

  constructor(inner: Exchange) {
    super(inner);
    const rest = { ...inner.headers };
    delete rest['x-muster-internal'];
    delete rest['x-muster-caller'];
    this.rest = rest;
  }

  override get headers(): Exchange['headers'] {
    return this.rest;
  }
}

const unknown: Refusal = {
  code: 'invalid_internal_token',
  message: 'The header x-muster-internal is for processes of this installation.',
};

/** Who brought no credential lacks what all others are asked for by now. */
function noLonger({ kind }: Caller): Refusal {
  return kind === 'anonymous' ? noCredential : goneCaller;
}

function isSame(given: string, token: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(token));
}

function readCaller(header: string | string[] | undefined): Caller | null {
  if (typeof header !== 'string') return null;
  try {
    const read = CallerRecord.safeParse(JSON.parse(Buffer.from(header, 'base64').toString('utf8')));
    return read.success ? read.data : null;
  } catch {
    return null;
  }
}
