import { expect, test } from '@jest/globals';
import { parseOperation } from '../../../domain/routing/operation.ts';
import { InternalCaller } from '../../../gateway/control-proxy/internal-caller.ts';
import type { ControlLink } from '../../../gateway/control-proxy/control-link.ts';
import { askInternally } from '../../../gateway/front/internal-exchange.ts';
import { Passage } from '../../../gateway/passage.ts';
import type { Flow } from '../../../gateway/step.ts';

const caller = {
  id: 'k',
  kind: 'key',
  tenant: 't',
  tier: 'best-effort',
  namespace: null,
  scopes: ['*'],
  models: ['*'],
};

test('later steps see who asks, and neither the token nor the header that named him', async () => {
  const link = { client: { currentToken: () => Promise.resolve('token') } } as unknown as ControlLink;
  const step = new InternalCaller(link, () => true);
  const headers = {
    'x-muster-internal': 'token',
    'x-muster-caller': Buffer.from(JSON.stringify(caller)).toString('base64'),
    'x-user': 'ann',
  };
  const path = '/v1/chat/completions';
  const passage = await new Promise<Passage>((resolve, reject) => {
    const flow = { proceed: resolve, refuse: reject, failed: reject } as unknown as Flow;
    void askInternally(
      (exchange) => step.enter(new Passage(exchange, 'r', parseOperation('POST', path), 0, null), flow),
      { method: 'POST', path, headers, body: null },
      1,
    );
  });
  expect(passage.caller).toMatchObject({ id: 'k', tenant: 't' });
  expect(passage.exchange.headers).toEqual({ 'x-user': 'ann' });
});
