import { expect, test } from '@jest/globals';
import type { Caller } from '../../../domain/access/caller.ts';
import type { Tier } from '../../../domain/qos/tier.ts';
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
  tier: 'standard',
  namespace: null,
  scopes: ['*'],
  models: ['*'],
};

/** The passage as later steps see it. @param present who the stored caller is now */
function enter(present: (stored: Caller) => Caller | null): Promise<Passage> {
  const link = { client: { currentToken: () => Promise.resolve('token') } } as unknown as ControlLink;
  const step = new InternalCaller(link, present);
  const headers = {
    'x-muster-internal': 'token',
    'x-muster-caller': Buffer.from(JSON.stringify(caller)).toString('base64'),
    'x-user': 'ann',
  };
  const path = '/v1/chat/completions';
  return new Promise<Passage>((resolve, reject) => {
    const flow = { proceed: resolve, refuse: reject, failed: reject } as unknown as Flow;
    void askInternally(
      (exchange) => step.enter(new Passage(exchange, 'r', parseOperation('POST', path), 0, null), flow),
      { method: 'POST', path, headers, body: null },
      1,
    );
  });
}

test('later steps see who asks, and neither the token nor the header that named him', async () => {
  const passage = await enter((stored) => stored);
  expect(passage.caller).toMatchObject({ id: 'k', tenant: 't' });
  expect(passage.exchange.headers).toEqual({ 'x-user': 'ann' });
});

test.each<[Tier, Tier]>([
  ['critical', 'standard'],
  ['standard', 'standard'],
  ['best-effort', 'best-effort'],
])('whose maker is %s now asks as %s, where the line asks for standard', async (own, expected) => {
  const passage = await enter((stored) => ({ ...stored, tenant: 'now', tier: own }));
  expect(passage.caller).toMatchObject({ tenant: 'now', tier: expected });
});
