import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ResiliencePolicy } from '../../../domain/resilience/resilience-policy.schema.ts';
import type { ServiceRoute } from '../../../domain/route-table/route-table.schema.ts';
import { ControlClient } from '../../../gateway/route-table/control-client.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';
import { hear } from '../../fixtures/resilience/stand-in.ts';

const chunk = (text: string) =>
  `data: ${JSON.stringify({ id: 'x', choices: [{ index: 0, delta: { content: text }, finish_reason: null }] })}\n\n`;

describe('a service that is asleep', () => {
  let folder: string;
  let gateway: TestGateway;
  let control: Backend;
  let client: ControlClient;
  let model: Backend;
  /** What the control API answers to a call to wake. */
  let answers: number[] = [];
  /** Before the model answers. */
  let delayMs = 0;
  beforeEach(async () => {
    answers = [];
    delayMs = 0;
    folder = await mkdtemp(join(tmpdir(), 'muster-activator-'));
    await writeFile(join(folder, 'token'), 'secret');
    control = await startBackend((_seen, response) => {
      response.writeHead(answers.shift() ?? 200, { 'content-type': 'application/json' });
      response.end('{}');
    });
    model = await startBackend((seen, response) => {
      const body = JSON.parse(seen.body.toString()) as { stream?: boolean };
      response.writeHead(200, {
        'content-type': body.stream === true ? 'text/event-stream' : 'application/json',
      });
      const said = body.stream === true ? `${chunk('awake')}data: [DONE]\n\n` : '{"from":"model"}';
      if (delayMs === 0) response.end(said);
      else setTimeout(() => response.end(said), delayMs);
    });
    client = new ControlClient(control.address, join(folder, 'token'));
    gateway = await startTestGateway();
    gateway.control.client = client;
    show('Asleep');
  });
  afterEach(async () => {
    await gateway.close();
    await client.close();
    await control.close();
    await model.close();
    await rm(folder, { recursive: true });
  });

  let version = 0;
  let resilience: ResiliencePolicy = {};
  function show(
    state: ServiceRoute['state'],
    policy: ResiliencePolicy = {},
    timeoutMs: number | null = null,
  ): void {
    version += 1;
    resilience = policy;
    const ready = state === 'Serving' ? [model.address] : [];
    // Before a runtime is chosen the table knows neither its protocols nor its own name for the model.
    const known = ready.length > 0 ? { upstreamModel: 'its-own' } : { targets: [], protocols: [] };
    const route = service('m', { ready, state, timeoutMs, ...known });
    gateway.store.apply({ ...table([route], version), policy: { resilience } }, -1);
  }
  const ask = (more: object = {}, init: RequestInit = {}) =>
    fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      body: JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hi' }], ...more }),
      ...init,
    });
  const waiting = async () =>
    /^muster_gateway_wake_waiting\{.*\} (\d+)$/m.exec((await get(`${gateway.url}/metrics`)).text)?.[1];
  const isWaiting = (count: number) => until(async () => (await waiting()) === String(count));

  test('is woken once by many requests, and answers each in the order in which they came', async () => {
    const asked: Promise<Response>[] = [];
    for (let i = 0; i < 20; i += 1) {
      asked.push(ask({ user: String(i) }));
      await isWaiting(i + 1);
    }
    expect(control.seen).toHaveLength(1);
    expect(control.seen[0]).toMatchObject({ method: 'POST', url: '/internal/wake' });
    expect(control.seen[0]!.headers.authorization).toBe('Bearer secret');
    expect(JSON.parse(control.seen[0]!.body.toString())).toEqual({ namespace: 'default', name: 'm' });
    show('Loading');
    asked.push(ask({ user: '20' }));
    await isWaiting(21);
    expect(model.seen).toHaveLength(0);
    show('Serving');
    for (const answer of await Promise.all(asked)) expect(answer.status).toBe(200);
    expect(JSON.parse(model.seen[0]!.body.toString())).toMatchObject({ model: 'its-own' });
    const order = model.seen.map(({ body }) =>
      Number((JSON.parse(body.toString()) as { user: string }).user),
    );
    expect(order).toEqual(Array.from({ length: 21 }, (_, i) => i));
    expect(await waiting()).toBeUndefined();
    expect((await get(`${gateway.url}/metrics`)).text).toContain('muster_gateway_wake_released_total 21');
  });

  test('is called again when the call failed, until it is awake', async () => {
    answers = [503, 500];
    const answer = ask();
    await until(() => control.seen.length >= 3);
    show('Serving');
    expect((await answer).status).toBe(200);
  });

  test('that does not wake in time is a 503 with Retry-After, and a later request wakes it again', async () => {
    show('Asleep', { all: { wake: { holdMs: 100 } } });
    const late = await ask();
    expect(late.status).toBe(503);
    expect(late.headers.get('retry-after')).not.toBeNull();
    expect(await late.json()).toMatchObject({ error: { code: 'wake_timeout' } });
    const calls = control.seen.length;
    const next = ask();
    await until(() => control.seen.length > calls);
    show('Serving');
    expect((await next).status).toBe(200);
  });

  test("holds a request no longer than the service's own time", async () => {
    show('Asleep', {}, 100);
    expect((await ask()).status).toBe(503);
  });

  test("holds a request no longer than the policy's time for all of it", async () => {
    show('Asleep', { all: { totalMs: 100 } });
    expect((await ask()).status).toBe(503);
  });

  test.each([
    ['policy', { all: { totalMs: 1_000 } }, null],
    ['service', {}, 1_000],
  ] as const)(
    'takes the wait from the time that its %s gives the request',
    async (_whose, policy, timeoutMs) => {
      delayMs = 700;
      show('Asleep', policy, timeoutMs);
      const startedMs = performance.now();
      const answer = ask();
      await isWaiting(1);
      await new Promise((resolve) => setTimeout(resolve, 500));
      show('Serving', policy, timeoutMs);
      expect((await answer).status).toBe(504);
      expect(performance.now() - startedMs).toBeLessThan(1_200);
      expect(model.seen).toHaveLength(1);
    },
  );

  test.each([
    ['requests', { holdersMax: 2 }],
    ['bytes', { holdBytesMax: 400 }],
  ])('holds so many %s and refuses the rest at once', async (_name, wake) => {
    show('Asleep', { all: { wake } });
    const held = [ask({ user: 'x'.repeat(60) }), ask({ user: 'x'.repeat(60) })];
    await isWaiting(2);
    const refused = await ask({ user: 'x'.repeat(200) });
    expect([refused.status, ((await refused.json()) as { error: { code: string } }).error.code]).toEqual([
      503,
      'wake_queue_full',
    ]);
    show('Serving');
    for (const answer of await Promise.all(held)) expect(answer.status).toBe(200);
  });

  test('forgets a client that left, and its bytes', async () => {
    const leaving = new AbortController();
    const gone = ask({}, { signal: leaving.signal }).catch(() => 'left');
    await isWaiting(1);
    await until(() => control.seen.length === 1);
    leaving.abort();
    expect(await gone).toBe('left');
    await until(async () => (await waiting()) === undefined);
    show('Serving');
    expect((await ask()).status).toBe(200);
    expect(model.seen).toHaveLength(1);
    expect(control.seen).toHaveLength(1);
  });

  test.each(['Failed', 'Stopped'] as const)(
    'that is %s after all refuses those who waited',
    async (state) => {
      const answer = ask();
      await isWaiting(1);
      show(state);
      expect((await answer).status).toBe(503);
    },
  );

  test('that leaves the table refuses those who waited', async () => {
    const answer = ask();
    await isWaiting(1);
    gateway.use([], 1000);
    expect((await answer).status).toBe(503);
  });

  test('that turns out to speak another protocol says so to those who waited', async () => {
    const answer = ask();
    await isWaiting(1);
    gateway.use([service('m', { ready: [model.address], protocols: ['v2'] })], 1000);
    expect((await answer).status).toBe(400);
    expect(model.seen).toEqual([]);
  });

  test('is not left for a service that stands in when it wakes', async () => {
    const fallbacks = { 'default/m': ['default/spare'] };
    const policy = { resilience: { fallbacks } };
    const spare = service('spare', { ready: [control.address] });
    const apply = (m: ServiceRoute, at: number) =>
      gateway.store.apply({ ...table([m, spare], at), policy }, -1);
    apply(service('m', { state: 'Asleep', targets: [], protocols: [] }), 3000);
    const answer = ask();
    await isWaiting(1);
    apply(service('m', { ready: [model.address] }), 3001);
    expect(await (await answer).json()).toEqual({ from: 'model' });
  });

  test('tells streams how it goes, by comments that clients skip', async () => {
    show('Asleep', { all: { wake: { progressMs: 20 } } });
    const answer = await ask({ stream: true });
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'text/event-stream']);
    const reader = answer.body!.getReader();
    const first = String(Buffer.from((await reader.read()).value ?? []));
    expect(first).toMatch(/^: waking default\/m, \d+ s\n\n/);
    show('Serving');
    let rest = '';
    for (let part = await reader.read(); !part.done; part = await reader.read())
      rest += Buffer.from(part.value).toString();
    expect(hear(rest)).toMatchObject({ text: 'awake', dones: 1, errors: 0 });
  });

  test('tells a stream that waited in vain so in an event, since its status was sent', async () => {
    show('Asleep', { all: { wake: { progressMs: 20, holdMs: 150 } } });
    const text = await (await ask({ stream: true })).text();
    expect(hear(text)).toMatchObject({ text: '', errors: 1, dones: 0 });
    expect(text).toContain('wake_timeout');
  });

  test('is refused at once where nobody can wake it, and where the policy holds nothing', async () => {
    show('Asleep', { all: { wake: { holdMs: 0 } } });
    expect((await ask()).status).toBe(503);
    show('Asleep');
    gateway.control.client = null;
    const answer = await postJson(`${gateway.url}/v1/chat/completions`, { model: 'm', messages: [] });
    expect(answer).toMatchObject({ status: 503, body: { error: { code: 'model_not_ready' } } });
    expect(control.seen).toHaveLength(0);
  });

  test('that only loads, and never slept, holds nobody', async () => {
    gateway.use([service('m', { state: 'Loading', targets: [] })], 2000);
    gateway.use([service('n', { state: 'Loading', targets: [] })], 2001);
    const answer = await postJson(`${gateway.url}/v1/chat/completions`, { model: 'n', messages: [] });
    expect(answer.status).toBe(503);
  });
});
