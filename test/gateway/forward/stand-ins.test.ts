import { describe, expect, test } from '@jest/globals';
import { newKey } from '../../fixtures/access/keys.ts';
import { refusingAddress } from '../../fixtures/gateway/backends.ts';
import type { ServiceSketch } from '../../fixtures/gateway/tables.ts';
import { Forwarding, chat, says, status } from '../../fixtures/resilience/forwarding.ts';

const forwarding = new Forwarding();
const use = forwarding.use.bind(forwarding);
const backend = forwarding.backend.bind(forwarding);
const raw = forwarding.raw.bind(forwarding);
const ask = forwarding.ask.bind(forwarding);

describe('a service that stands in', () => {
  const spare = { models: ['spare'], upstreamModel: 'the-spare' };
  test.each<[string, () => Promise<ServiceSketch>]>([
    ['refuses', async () => ({ ready: [await refusingAddress()] })],
    ['resets', async () => ({ ready: [(await raw((socket) => socket.resetAndDestroy())).address] })],
    ['says not now', async () => ({ ready: [(await backend(status(503))).address] })],
    [
      'speaks no HTTP',
      async () => ({ ready: [(await raw((socket) => socket.write('\0\0\r\n\r\n'))).address] }),
    ],
    ['is not ready', async () => ({ unready: [await refusingAddress()], state: 'Loading' as const })],
    ['has no server', () => Promise.resolve({ targets: [] })],
  ])(
    'answers when the first one %s, asked by its own name for the model, and says so',
    async (_name, first) => {
      const other = await backend(says('spare'));
      use(
        { m: await first(), spare: { ...spare, ready: [other.address] } },
        {
          fallbacks: { 'default/m': ['default/gone', 'default/spare'] },
        },
      );
      const answer = await ask();
      expect(answer).toMatchObject({ status: 200, body: { from: 'spare' } });
      expect(answer.headers.get('x-muster-fallback')).toBe('default/spare');
      expect(JSON.parse(other.seen[0]!.body.toString())).toEqual({ ...chat, model: 'the-spare' });
    },
  );

  test('is passed over when it does not speak the protocol or is not ready, and the next is asked', async () => {
    const [wrong, right] = [await backend(says('wrong')), await backend(says('right'))];
    use(
      {
        m: { ready: [await refusingAddress()] },
        v2: { ready: [wrong.address], protocols: ['v2'] },
        off: { unready: [wrong.address] },
        right: { ready: [right.address] },
      },
      { fallbacks: { 'default/m': ['default/v2', 'default/off', 'default/right'] } },
    );
    expect((await ask()).body).toEqual({ from: 'right' });
    expect(wrong.seen).toHaveLength(0);
  });

  test.each([
    ['whose key may ask the first one alone', ['default/m'], 503, 0],
    ['whose key may ask both', ['default/m', 'default/spare'], 200, 1],
  ] as const)('for a caller %s', async (_name, models, code, asked) => {
    const other = await backend(says('spare'));
    const { key, record } = newKey({ models: [...models] });
    use(
      { m: { ready: [await refusingAddress()] }, spare: { ...spare, ready: [other.address] } },
      { fallbacks: { 'default/m': ['default/spare'] } },
      { access: { mode: 'required', keys: [record] } },
    );
    const answer = await ask(chat, { authorization: `Bearer ${key}` });
    expect(answer.status).toBe(code);
    expect(answer.text).not.toContain(code === 503 ? 'spare' : 'error');
    expect(other.seen).toHaveLength(asked);
  });

  test('is not asked while the first one answers, whatever its answer', async () => {
    const other = await backend(says('spare'));
    const first = await backend(status(400));
    use(
      { m: { ready: [first.address] }, spare: { ...spare, ready: [other.address] } },
      {
        fallbacks: { 'default/m': ['default/spare'] },
      },
    );
    expect((await ask()).status).toBe(400);
    expect(other.seen).toHaveLength(0);
  });

  test('is not sent a request that broke two servers', async () => {
    const killer: Parameters<typeof raw>[0] = (socket) => socket.resetAndDestroy();
    const [a, b, c] = [await raw(killer), await raw(killer), await backend(says('spare'))];
    use(
      { m: { ready: [a.address, b.address] }, spare: { ...spare, ready: [c.address] } },
      {
        fallbacks: { 'default/m': ['default/spare'] },
      },
    );
    expect((await ask()).status).toBe(502);
    expect(c.seen).toHaveLength(0);
  });
});
