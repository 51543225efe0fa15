import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { GatewayPolicy } from '../../../domain/gateway-policy/gateway-policy.schema.ts';
import { refusingAddress, startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';

/** 2 KiB of a group, then the request's own 500 bytes. */
const content = (group: string, own: number) =>
  `${`<${group}>`.repeat(700).slice(0, 2048)}${`[${own}]`.repeat(200).slice(0, 500)}`;
const chat = (group: string, own: number, more: object = {}) => ({
  ...more,
  model: 'm',
  messages: [{ role: 'user', content: content(group, own) }],
});

describe('where prompts go', () => {
  let gateway: TestGateway;
  let backends: Backend[] = [];
  beforeEach(async () => {
    gateway = await startTestGateway();
    backends = [];
    for (let at = 0; at < 4; at += 1)
      backends.push(await startBackend((_seen, response) => response.end(`{"server":${at},"choices":[]}`)));
    gateway.use([service('m', { ready: backends.map(({ address }) => address) })]);
  });
  afterEach(async () => {
    await gateway.close();
    for (const backend of backends) await backend.close();
  });

  async function ask(body: object, path = '/v1/chat/completions'): Promise<number> {
    const answer = await postJson(gateway.url + path, body);
    expect(answer.status).toBe(200);
    return (answer.body as { server: number }).server;
  }
  const askAll = async (bodies: object[], path?: string) => {
    const servers: number[] = [];
    for (const body of bodies) servers.push(await ask(body, path));
    return new Set(servers);
  };
  const many = Array.from({ length: 12 }, (_, at) => at);

  test.each<[string, string, (group: string, own: number) => object]>([
    ['chat', '/v1/chat/completions', chat],
    ['completions', '/v1/completions', (group, own) => ({ model: 'm', prompt: content(group, own) })],
    ['responses', '/v1/responses', (group, own) => ({ model: 'm', input: content(group, own) })],
  ])('%s: those that begin alike to one server, different ones to all', async (_name, path, body) => {
    expect(
      (
        await askAll(
          many.map((own) => body('a', own)),
          path,
        )
      ).size,
    ).toBe(1);
    expect(
      (
        await askAll(
          many.concat(many).map((own) => body(`group ${own}`, own)),
          path,
        )
      ).size,
    ).toBeGreaterThan(2);
  });

  test('what stands before the prompt does not matter, nor what comes behind it', async () => {
    const bodies = many.map((own) =>
      chat('a', own, { user: `user-${own}`.repeat(own), seed: own, temperature: own / 10 }),
    );
    expect((await askAll(bodies)).size).toBe(1);
  });

  test('other tools are another prompt, since templates put them first', async () => {
    const tool = (name: string) => ({ tools: [{ type: 'function', function: { name } }] });
    const first = await askAll(many.map((own) => chat('a', own, tool('weather'))));
    expect(first.size).toBe(1);
    const others = await askAll(many.map((own) => chat('a', 1, tool(`tool ${own}`))));
    expect(others.size).toBeGreaterThan(1);
  });

  test('prompts of less than a block, and what is no prompt, go to the least loaded', async () => {
    expect((await askAll([...many, ...many].map(() => ({ model: 'm', messages: [] })))).size).toBeGreaterThan(
      1,
    );
    const embeddings = [...many, ...many].map(() => ({ model: 'm', input: content('a', 1) }));
    expect((await askAll(embeddings, '/v1/embeddings')).size).toBeGreaterThan(1);
    for (const prompt of ['', 'x', null, 5, [], [1, 2, 3]])
      await ask({ model: 'm', prompt }, '/v1/completions'); // is answered
  });

  test('a holder that refuses is replaced at once, and the other one is then the holder', async () => {
    const home = await ask(chat('a', 0));
    const dead = await refusingAddress();
    const addresses = backends.map(({ address }, at) => (at === home ? dead : address));
    gateway.use([service('m', { ready: addresses })]);
    const next = await askAll(many.map((own) => chat('a', own)));
    expect(next.size).toBe(1);
    expect(next.has(home)).toBe(false);
  });

  test('revisions get their shares, whatever the prompt', async () => {
    const endpoint = (at: number, revision: string) => ({
      address: backends[at]!.address,
      revision,
      ready: true,
    });
    const targets = [
      { revision: 'old', percent: 75, endpoints: [endpoint(0, 'old'), endpoint(1, 'old')] },
      { revision: 'new', percent: 25, endpoints: [endpoint(2, 'new'), endpoint(3, 'new')] },
      { revision: 'none', percent: 0, endpoints: [endpoint(2, 'none')] },
    ];
    gateway.use([service('m', { targets })]);
    for (let own = 0; own < 400; own += 1) await ask(chat('a', own));
    const counts = backends.map(({ seen }) => seen.length);
    // 300 expected, 5 standard deviations are 43.
    expect(counts[0]! + counts[1]!).toBeGreaterThan(257);
    expect(counts[0]! + counts[1]!).toBeLessThan(343);
  });

  test('the policy can turn it off', async () => {
    const given = table([service('m', { ready: backends.map(({ address }) => address) })], 9);
    gateway.store.apply(
      { ...given, policy: GatewayPolicy.parse({ pick: { algorithm: 'least-loaded' } }) },
      -1,
    );
    expect((await askAll([...many, ...many].map((own) => chat('a', own)))).size).toBeGreaterThan(1);
  });

  test('tells what should have been found, why each server was chosen, and what each has in hand', async () => {
    for (const own of many) await ask(chat('a', own));
    const { text } = await get(`${gateway.url}/metrics`);
    const read = (name: string) =>
      Number(
        text
          .split('\n')
          .find((row) => row.startsWith(name))
          ?.split(' ')
          .pop(),
      );
    expect(read('muster_gateway_pick_total{reason="held"}')).toBe(11);
    expect(read('muster_gateway_pick_total{reason="new"}')).toBe(1);
    const [cached, fresh] = ['cached', 'new'].map((state) =>
      read(`muster_gateway_pick_prompt_blocks_total{state="${state}"}`),
    );
    expect(cached! + fresh!).toBe(12 * 10);
    expect(cached).toBe(11 * 8);
    for (const { address } of backends) {
      expect(read(`muster_gateway_endpoint_in_flight{endpoint="${address}"}`)).toBe(0);
      expect(read(`muster_gateway_endpoint_uncached_bytes{endpoint="${address}"}`)).toBe(0);
    }
  });
});
