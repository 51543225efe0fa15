import { afterEach, describe, expect, test } from '@jest/globals';
import { startCountingGateway } from '../../fixtures/budget/counting-gateway.ts';
import type { CountingGateway } from '../../fixtures/budget/counting-gateway.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, Respond } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { postJson } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

let gateway: CountingGateway | null = null;
let backends: Backend[] = [];
afterEach(async () => {
  await gateway?.close();
  for (const backend of backends) await backend.close();
  gateway = null;
  backends = [];
});

const prices = { models: [{ model: '*', inputPerMillion: 1_000_000, outputPerMillion: 1_000_000 }] };
const event = (fields: object): string =>
  `data: ${JSON.stringify({ id: 'x', object: 'chat.completion.chunk', created: 1, model: 'chat', ...fields })}\n\n`;
const word = (content: string, finish: string | null = null): string =>
  event({ choices: [{ index: 0, delta: { content }, finish_reason: finish }] });
const usage = (prompt: number, completion: number): string =>
  event({
    choices: [],
    usage: { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion },
  });
const done = 'data: [DONE]\n\n';

async function start(respond: readonly Respond[], policy: object): Promise<void> {
  for (const one of respond) backends.push(await startBackend(one));
  const ready = backends.map(({ address }) => address);
  gateway = await startCountingGateway([service('chat', { ready })], { prices, ...policy });
}
const ask = () =>
  postJson(`${gateway!.url}/v1/chat/completions`, {
    model: 'chat',
    temperature: 0,
    stream: true,
    messages: [{ role: 'user', content: 'count' }],
  });

describe('what is counted, beside the other steps', () => {
  test.each([
    ['refused where tokens count', { prices }, 400, 0],
    ['passed on where none do', { prices: { models: [] } }, 200, 1],
  ])('cannot be told of responses in the background: they are %s', async (_what, policy, status, asked) => {
    await start(
      [(_seen, response) => response.end('{"id":"resp_1","status":"queued","usage":null}')],
      policy,
    );
    const body = { model: 'chat', input: 'x', background: true };
    const answer = await postJson(`${gateway!.url}/v1/responses`, body);
    expect([answer.status, backends[0]!.seen.length]).toEqual([status, asked]);
    if (status === 400) expect(answer.body).toMatchObject({ error: { param: 'background' } });
    // Elsewhere the word means nothing.
    const chat = await postJson(`${gateway!.url}/v1/chat/completions`, { ...body, messages: [] });
    expect(chat.status).toBe(200);
  });

  test('is nothing for answers out of the cache; and what was asked in a client’s place stays hidden there', async () => {
    const stream: Respond = (_seen, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end([word('one'), word(' two', 'stop'), usage(9, 2), done].join(''));
    };
    const budgets = [{ id: 'all', period: 'day', limitTokens: 100_000 }];
    await start([stream], { cache: { enabled: true }, budgets });
    const texts: string[] = [];
    for (let time = 0; time < 3; time += 1) texts.push((await ask()).text);
    await until(() => backends[0]!.seen.length > 0 && gateway!.used.length > 0);
    expect(backends[0]!.seen).toHaveLength(1);
    expect(gateway!.used).toMatchObject([{ costMicros: 11, isEstimated: false }]);
    for (const text of texts) {
      expect(text).toContain(' two');
      expect(text).not.toContain('"prompt_tokens"');
      expect(text.endsWith(done)).toBe(true);
    }
    const [account] = [...gateway!.accounting.budgets.accounts.values()];
    await until(() => account!.share.inFlight === 0);
    expect([account!.share.spentTokens, account!.share.reservedTokens]).toEqual([11, 0]);
  });

  test('is one answer when a stream is cut and another server goes on', async () => {
    let asked = 0;
    const serve: Respond = (_seen, response) => {
      asked += 1;
      // A chat is only gone on with by servers that are known to do it.
      response.writeHead(200, { 'content-type': 'text/event-stream', server: 'llama.cpp' });
      if (asked === 1) {
        response.write(word('one') + word(' two'));
        setTimeout(() => response.destroy(), 20);
      } else response.end([word(' three'), word('', 'stop'), usage(9 + 2, 1), done].join(''));
    };
    await start([serve, serve], { resilience: { all: { midStream: { mode: 'continue' } } } });
    const { text } = await ask();
    expect(text).toContain(' three');
    expect(text).not.toContain('"prompt_tokens"');
    await until(() => gateway!.used.length === 1);
    expect(gateway!.used[0]).toMatchObject({
      usage: { inputTokens: 9, outputTokens: 3 },
      costMicros: 12,
      isEstimated: false,
    });
  });
});
