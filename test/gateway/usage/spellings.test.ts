import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { anonymous } from '../../../domain/access/caller.ts';
import { compileRoutes } from '../../../domain/routing/routes.ts';
import { Meters } from '../../../gateway/usage/meters.ts';
import { startCountingGateway } from '../../fixtures/budget/counting-gateway.ts';
import type { CountingGateway } from '../../fixtures/budget/counting-gateway.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { get, postJson } from '../../fixtures/gateway/gateway.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';

let gateway: CountingGateway | null = null;
let backend: Backend;
beforeEach(async () => {
  const text = JSON.stringify({ choices: [], usage: { prompt_tokens: 6, completion_tokens: 4 } });
  backend = await startBackend((_seen, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': text.length });
    response.end(text);
  });
});
afterEach(async () => {
  await gateway?.close();
  await backend.close();
  gateway = null;
});

const start = async (policy: object): Promise<void> => {
  const llm = { ...service('llm', { ready: [backend.address] }), models: ['chat', 'draw'] };
  gateway = await startCountingGateway([llm], { usage: { unsaidOutputTokens: 4 }, ...policy });
};
const completions = '/v1/chat/completions';
const ask = (model: string | null, path = completions) =>
  postJson(`${gateway!.url}${path}`, { ...(model === null ? {} : { model }), messages: [] });

/** All ways to ask the same model. */
const spellings: [string, string | null, string][] = [
  ['with its namespace', 'default/chat', completions],
  ['as its service', 'default/llm', completions],
  ['by the path of its service alone', null, `/serving/default/llm${completions}`],
  ['by path and service', 'default/llm', `/serving/default/llm${completions}`],
];

describe.each(spellings)('a model that is asked %s', (_how, model, path) => {
  test('costs the same', async () => {
    await start({ prices: { models: [{ model: 'chat', perRequest: 7 }] } });
    expect((await ask(model, path)).headers.get('x-muster-cost')).toBe('7');
  });

  test('draws from the budget of the model, and has no account of its own', async () => {
    await start({
      budgets: [
        { id: 'chat', period: 'day', limitTokens: 25, match: { model: 'chat' } },
        { id: 'full', period: 'day', limitTokens: 1_000, match: { model: 'default/chat' } },
        { id: 'each', period: 'day', limitTokens: 1_000, per: 'model' },
      ],
    });
    expect((await ask('chat')).status).toBe(200);
    expect((await ask(model, path)).status).toBe(200);
    expect((await ask(model, path)).status).toBe(429);
    expect([...gateway!.accounting.budgets.accounts.keys()].sort()).toEqual(['chat', 'each/chat', 'full']);
  });

  test('counts against the rate limits of the model', async () => {
    const limits = { requestsPerMinute: 2 };
    await start({ rateLimits: [{ id: 'chat', match: { model: 'chat' }, ...limits }] });
    expect((await ask('chat')).status).toBe(200);
    expect((await ask(model, path)).status).toBe(200);
    expect((await ask(model, path)).status).toBe(429);
  });

  test('is one in sums', async () => {
    await start({});
    await ask(model, path);
    const { text } = await get(`${gateway!.url}/metrics`);
    expect(text).toContain(
      'usage_requests_total{namespace="default",service="llm",model="chat",tenant=""} 1',
    );
  });
});

test('another model of the service is another', async () => {
  await start({ budgets: [{ id: 'each', period: 'day', limitTokens: 1_000, per: 'model' }] });
  await ask('default/draw');
  expect([...gateway!.accounting.budgets.accounts.keys()]).toEqual(['each/draw']);
});

test('a model that several services serve counts by its own name, and costs what they cost unless it has a price', async () => {
  const models = { any: { backends: [{ service: 'default/llm', class: 'gpu', pricePerHour: 1 }] } };
  const budgets = [{ id: 'each', period: 'day', limitTokens: 1_000, per: 'model' }];
  const chat = { model: 'chat', perRequest: 7 };
  await start({ models, budgets, prices: { models: [chat] } });
  for (const model of ['any', 'default/any'])
    expect((await ask(model)).headers.get('x-muster-cost')).toBe('7');
  expect([...gateway!.accounting.budgets.accounts.keys()]).toEqual(['each/any']);
  await gateway!.close();
  await start({ models, budgets, prices: { models: [chat, { model: 'any', perRequest: 9 }] } });
  expect((await ask('default/any')).headers.get('x-muster-cost')).toBe('9');
});

test('the ledger is told the name that counts, and what is kept of callers is bounded by the table', () => {
  const llm = { ...service('llm', { ready: [] }), models: ['chat'] };
  const routed = compileRoutes(table([llm]), () => ({
    inFlight: 0,
    inFlightMax: Infinity,
    skipUntilMs: 0,
  })).byKey.get('default/llm')!;
  const meters = new Meters();
  for (const model of ['chat', 'default/chat', 'llm', 'default/llm', 'default/llm-predictor']) {
    const { ledgerText } = meters.of(routed, model, anonymous);
    expect(JSON.parse(`{${ledgerText}}`)).toMatchObject({ service: 'llm', model: 'chat' });
  }
  expect(JSON.parse(`{${meters.of(routed, 'llm', anonymous, { name: 'llm' }).ledgerText}}`)).toMatchObject({
    model: 'llm',
  });
  expect([...meters.numbers.values()].map(({ model }) => model)).toEqual(['chat', 'llm']);
});
