import { anonymous } from '../../domain/access/caller.ts';
import type { Refusal } from '../errors.ts';
import { toldHead } from '../front/headers.ts';
import type { GatewayLimits } from '../limits.ts';
import type { Passage } from '../passage.ts';
import type { ControlClient } from '../route-table/control-client.ts';
import type { ControlLink } from './control-link.ts';
import type { Flow } from '../step.ts';

/**
 * Files and batches live in the control API, which lets workflows work on them: such requests are handed on with the
 * caller's name, and the answer comes back as it is, with backpressure. A gateway alone has none of it.
 */
export interface ControlProxyDeps {
  readonly link: ControlLink;
  readonly limits: GatewayLimits;
}

export class ControlProxy {
  private readonly deps: ControlProxyDeps;

  constructor(deps: ControlProxyDeps) {
    this.deps = deps;
  }

  handle(passage: Passage, flow: Flow): void {
    const { client } = this.deps.link;
    if (client === null) {
      flow.refuse(passage, {
        code: 'not_implemented',
        message: 'Files and batches need a control API; this gateway runs alone.',
      });
      return;
    }
    const named = encodeCaller(passage);
    if (named.length > callerCharsMax) {
      flow.refuse(passage, tooManyModels);
      return;
    }
    this.pass(passage, client, named).catch((error: unknown) => {
      if (passage.exchange.isStarted) passage.exchange.cut();
      else if (!passage.isClosed) {
        const why = error instanceof Error && 'code' in error ? String(error.code) : 'no answer';
        flow.refuse(passage, {
          code: 'control_unavailable',
          message: `Files and batches cannot be reached now (${why}); requests to models are not affected.`,
        });
      }
    });
  }

  private async pass(passage: Passage, client: ControlClient, named: string): Promise<void> {
    const { exchange, requestId, operation } = passage;
    const gone = new AbortController();
    let goOn = (): void => undefined;
    exchange.onClose((isWhole) => {
      if (!isWhole) gone.abort();
      goOn();
    });
    const type = exchange.headers['content-type'];
    const answer = await client.forward(`/internal/openai${operation.head}${exchange.query}`, {
      method: exchange.method,
      body: exchange.body,
      headers: {
        ...(typeof type === 'string' ? { 'content-type': type } : {}),
        'x-muster-caller': named,
      },
      headersTimeout: this.deps.limits.headersMs,
      bodyTimeout: this.deps.limits.bodyIdleMs,
      signal: gone.signal,
    });
    exchange.startWith(answer.statusCode, toldHead(answer.headers), ['x-request-id', requestId]);
    for await (const chunk of answer.body) {
      if (exchange.write(chunk as Buffer) || gone.signal.aborted) continue;
      await new Promise<void>((resolve) => {
        goOn = resolve; // a client that leaves takes nothing more
        exchange.onDrain(resolve);
      });
    }
    exchange.end();
  }
}

/** Base64 of 9 KiB. The control API takes heads of 16 KiB; a token that is looked at at all says less than this. */
const callerCharsMax = 12 * 1024;

const tooManyModels: Refusal = {
  code: 'invalid_request',
  message:
    "A batch keeps the models that its token's issuer lists, and these are too many to be kept: list namespaces ('namespace/*') in their place.",
};

/**
 * Whose files these are, and in whose name the lines of a new batch are asked. What a key or a certificate may ask is
 * what the policy says by then, so only a token's models are kept with the batch.
 */
function encodeCaller({ caller, operation, exchange }: Passage): string {
  const { id, kind, tenant, tier, namespace, scopes, models } = caller ?? anonymous;
  const isNewBatch = operation.head === '/v1/batches' && exchange.method === 'POST';
  const isAskedLater = kind === 'key' || kind === 'certificate';
  const kept = isNewBatch && !isAskedLater ? models : [];
  return Buffer.from(JSON.stringify({ id, kind, tenant, tier, namespace, scopes, models: kept })).toString(
    'base64',
  );
}
