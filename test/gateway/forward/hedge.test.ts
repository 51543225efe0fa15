import { expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../../fixtures/gateway/control-api.ts';
import { Forwarding } from '../../fixtures/resilience/forwarding.ts';

const forwarding = new Forwarding();

/** Two servers: whoever is asked first begins its answer after the first of these times, and ends it when told. */
async function start(budgetPercent: number, headMs: readonly number[]) {
  let asked = 0;
  const ends: (() => void)[] = [];
  const servers = await Promise.all(
    ['a', 'b'].map((by) =>
      forwarding.backend((_seen, response) => {
        const ms = headMs[asked % headMs.length];
        asked += 1;
        setTimeout(() => response.write(`{"by":"${by}"`), ms);
        ends.push(() => response.end('}'));
      }),
    ),
  );
  const ready = servers.map(({ address }) => address);
  forwarding.use({ m: { ready } }, { all: { hedge: { after: 150, budgetPercent } } });
  return {
    asked: () => asked,
    end: () => {
      for (const end of ends.splice(0)) end();
    },
    /** Prompt bytes that each is taken to compute. */
    inHand: () => ready.map((address) => forwarding.gateway.endpoints.bind(address).prefix.uncachedBytes),
  };
}

function begin(text: string): Promise<Response> {
  const content = `${text} ${'word '.repeat(1_000)}`;
  const body = JSON.stringify({ model: 'm', messages: [{ role: 'user', content }] });
  const answer = fetch(`${forwarding.gateway.url}/v1/chat/completions`, { method: 'POST', body });
  answer.catch(() => undefined); // of a test that failed before
  return answer;
}

test('a second server that the budget does not allow takes no prompt from the first', async () => {
  const { asked, inHand, end } = await start(1, [400]);
  const answer = async (text: string) => {
    const head = await begin(text);
    end();
    return ((await head.json()) as { by: string }).by;
  };
  const once = answer('once');
  await until(() => asked() === 1);
  const before = inHand();
  await sleep(220);
  expect(inHand()).toEqual(before);
  await once;
  for (const text of ['once', 'twice', 'and', 'again']) expect(await answer(text)).toBe(await answer(text));
});

test.each([
  ['the first', [800, 5_000], (before: number[]) => before],
  ['the second', [5_000, 100], (before: number[]) => before.toReversed()],
])('of two servers with a prompt %s has it in hand when it answers', async (_who, headMs, has) => {
  const { asked, inHand, end } = await start(100, headMs);
  const answer = begin('once');
  await until(() => asked() === 1);
  const before = inHand();
  expect(before.filter((bytes) => bytes > 0)).toHaveLength(1);
  await until(() => asked() === 2);
  const head = await answer;
  expect(inHand()).toEqual(has(before));
  end();
  await head.text();
  await until(() => inHand().every((bytes) => bytes === 0));
});

test('a second server that breaks leaves the prompt in hand at the first', async () => {
  const { inHand, ready, answered } = await breaking();
  const answer = begin('once');
  await until(() => inHand().some((bytes) => bytes > 0));
  const before = inHand();
  await until(() => answered.length === 2);
  await sleep(50);
  expect(inHand()).toEqual(before);
  expect((await answer).status).toBe(200);
  expect(ready).toHaveLength(2);
});

/** Of two servers the one that is asked second breaks its connection. */
async function breaking() {
  const answered: number[] = [];
  const servers = await Promise.all(
    [0, 1].map((at) =>
      forwarding.backend((_seen, response) => {
        answered.push(at);
        if (answered.length === 1) setTimeout(() => response.end('{}'), 800);
        else response.destroy();
      }),
    ),
  );
  const ready = servers.map(({ address }) => address);
  forwarding.use({ m: { ready } }, { all: { hedge: { after: 150, budgetPercent: 100 } } });
  const inHand = () =>
    ready.map((address) => forwarding.gateway.endpoints.bind(address).prefix.uncachedBytes);
  return { answered, ready, inHand };
}
