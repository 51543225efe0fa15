import type { IncomingMessage } from 'node:http';
import type { Refusal } from '../errors.ts';
import type { GatewayLimits } from '../limits.ts';
import type { BodyBudget } from './body-budget.ts';

/** A body as it came, and the bytes of the budget that it holds until its request is over. */
export type NodeBody =
  | { readonly kind: 'read'; readonly body: Buffer | null; readonly held: number }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/**
 * Reads the body of a request that node's parser reads: chunked ones among them, whose length is known at their end.
 * @param done called once; not at all when the client leaves before the end, since nobody is left to answer
 */
export function readNodeBody(
  request: IncomingMessage,
  limits: GatewayLimits,
  budget: Pick<BodyBudget, 'take' | 'give'>,
  done: (body: NodeBody) => void,
): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  let isOver = false;
  const leave = (): boolean => {
    if (isOver) return false;
    isOver = true;
    request.off('data', onData).off('end', onEnd).off('close', onClose);
    return true;
  };
  const refuse = (refusal: Refusal): void => {
    if (!leave()) return;
    budget.give(bytes);
    request.resume(); // the client may write on until it reads its answer
    done({ kind: 'refused', refusal });
  };
  const onData = (chunk: Buffer): void => {
    if (bytes + chunk.length > limits.bodyBytesMax) refuse(tooLarge(limits));
    else if (!budget.take(chunk.length)) refuse(bodiesFull);
    else {
      bytes += chunk.length;
      chunks.push(chunk);
    }
  };
  const onEnd = (): void => {
    if (!leave()) return;
    const body = chunks.length === 1 ? (chunks[0] ?? null) : Buffer.concat(chunks);
    done({ kind: 'read', body: bytes === 0 ? null : body, held: bytes });
  };
  const onClose = (): void => {
    if (leave()) budget.give(bytes);
  };
  request.on('data', onData).on('end', onEnd).on('close', onClose);
  if (Number(request.headers['content-length'] ?? 0) > limits.bodyBytesMax) refuse(tooLarge(limits));
}

export function tooLarge(limits: GatewayLimits): Refusal {
  return { code: 'request_too_large', message: `The body is larger than ${limits.bodyBytesMax} bytes.` };
}

export const bodiesFull: Refusal = {
  code: 'gateway_busy',
  message: 'The gateway holds as many request bodies as it may: try again.',
};
