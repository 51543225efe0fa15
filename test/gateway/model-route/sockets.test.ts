import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { ServiceRoute } from '../../../domain/route-table/route-table.schema.ts';
import { ControlClient } from '../../../gateway/route-table/control-client.ts';
import { refusingAddress, startBackend } from '../../fixtures/gateway/backends.ts';
import type { Seen } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';

const key = (id: string, tier: string, models = ['*']) => ({
  id,
  sha256: createHash('sha256').update(`key-of-${id}`).digest('hex'),
  tier,
  models,
  tenant: 'acme',
});
const access = {
  keys: [
    key('premium', 'critical'),
    key('batch', 'best-effort'),
    key('shared-only', 'critical', ['default/assistant']),
    key('cheap-only', 'critical', ['default/cpu']),
    key('neither', 'critical', ['other/*']),
  ],
};
const metricsKey = { ...key('metrics', 'standard'), scopes: ['metrics'] };
const models = {
  assistant: {
    backends: [
      { service: 'default/cpu', class: 'cpu', pricePerHour: 0.3, speed: 1 },
      { service: 'default/gpu', class: 'gpu', pricePerHour: 3, speed: 10, slotsPerEndpoint: 2 },
    ],
    spillAt: 1,
  },
};

/** Answers with the model that it was asked for, or when the test says so. */
async function startModelServer(isHeld: boolean) {
  const held: ServerResponse[] = [];
  const backend = await startBackend((seen: Seen, response) => {
    if (isHeld) held.push(response);
    else
      response.end(JSON.stringify({ model: (JSON.parse(seen.body.toString()) as { model: string }).model }));
  });
  return { ...backend, held };
}

describe('a model that several services serve', () => {
  let gateway: TestGateway;
  const closers: (() => Promise<void>)[] = [];
  const start = async (isHeld = false) => {
    const server = await startModelServer(isHeld);
    closers.push(server.close);
    return server;
  };
  const use = (cpu: string[], gpu: string[], isReady = true) => {
    const services = [
      service('cpu', { ready: cpu, upstreamModel: 'qwen-q4' }),
      service('gpu', { [isReady ? 'ready' : 'unready']: gpu, upstreamModel: 'qwen-bf16' }),
    ];
    expect(gateway.store.apply({ ...table(services), policy: { access, models } }, -1)).not.toBeNull();
  };
  const ask = (id: string, model = 'assistant') =>
    postJson(
      `${gateway.url}/v1/chat/completions`,
      { model, messages: [], seed: 1 },
      { authorization: `Bearer key-of-${id}` },
    );

  beforeEach(async () => {
    gateway = await startTestGateway();
  });
  afterEach(async () => {
    await gateway.close();
    for (const close of closers.splice(0)) await close();
  });

  test("goes to the fast class for the urgent and to the cheap one for batches, under each server's own name", async () => {
    const [cpu, gpu] = [await start(), await start()];
    use([cpu.address], [gpu.address]);
    const [premium, batch] = [await ask('premium'), await ask('batch')];
    expect([premium.body, premium.headers.get('x-muster-backend-class')]).toEqual([
      { model: 'qwen-bf16' },
      'gpu',
    ]);
    expect([batch.body, batch.headers.get('x-muster-backend-class')]).toEqual([{ model: 'qwen-q4' }, 'cpu']);
    expect(cpu.seen[0]?.body.toString()).toBe('{"model":"qwen-q4","messages":[],"seed":1}');
  });

  test('spills to the next class while the first is full, and comes back', async () => {
    const [cpu, gpu] = [await start(), await start(true)];
    use([cpu.address], [gpu.address]);
    const running = [ask('premium'), ask('premium')];
    await until(() => gpu.held.length === 2);
    expect((await ask('premium')).headers.get('x-muster-backend-class')).toBe('cpu');
    expect((await get(`${gateway.url}/metrics`)).text).toMatch(
      /muster_gateway_model_route_spilled\{model="default\/assistant",service="default\/gpu",class="gpu"\} 1/,
    );
    for (const response of gpu.held.splice(0)) response.end('{}');
    await Promise.all(running);
    const back = ask('premium');
    await until(() => gpu.held.length === 1);
    gpu.held[0]?.end('{}');
    expect((await back).headers.get('x-muster-backend-class')).toBe('gpu');
  });

  test('goes to the class that is ready', async () => {
    const cpu = await start();
    use([cpu.address], ['http://127.0.0.1:9'], false);
    expect((await ask('premium')).headers.get('x-muster-backend-class')).toBe('cpu');
  });

  const startControl = async () => {
    const control = await startBackend((_seen, response) => response.end('{}'));
    closers.push(control.close);
    const folder = await mkdtemp(join(tmpdir(), 'muster-classes-'));
    await writeFile(join(folder, 'token'), 'secret');
    const client = new ControlClient(control.address, join(folder, 'token'));
    closers.push(
      () => client.close(),
      () => rm(folder, { recursive: true }),
    );
    gateway.control.client = client;
    return control;
  };

  test('wakes the class that suits better, once, while another answers', async () => {
    const [cpu, control] = [await start(), await startControl()];
    const services = [
      service('cpu', { ready: [cpu.address] }),
      service('gpu', { state: 'Asleep', targets: [] }),
    ];
    gateway.store.apply({ ...table(services), policy: { access, models } }, -1);
    expect((await ask('batch')).headers.get('x-muster-backend-class')).toBe('cpu');
    expect(control.seen).toEqual([]);
    for (let n = 0; n < 3; n += 1)
      expect((await ask('premium')).headers.get('x-muster-backend-class')).toBe('cpu');
    await until(() => control.seen.length > 0);
    expect(control.seen.map(({ url, body }) => [url, body.toString()])).toEqual([
      ['/internal/wake', '{"namespace":"default","name":"gpu"}'],
    ]);
  });

  test('wakes no class for who only asks whether it is there', async () => {
    const gpu = await startBackend((_seen, response) => response.end('{}'));
    closers.push(gpu.close);
    await startControl();
    const services = [
      service('cpu', { state: 'Asleep', targets: [] }),
      service('gpu', { ready: [gpu.address] }),
    ];
    const required = { ...access, mode: 'required', keys: [...access.keys, metricsKey] };
    gateway.store.apply({ ...table(services), policy: { access: required, models } }, -1);
    const called = async () => {
      const { text } = await get(`${gateway.url}/metrics`, { authorization: 'Bearer key-of-metrics' });
      return /model_route_wakes_total\{outcome="called"\} (\d+)/.exec(text)?.[1];
    };
    const batch = { authorization: 'Bearer key-of-batch' };
    const asked = [
      await get(`${gateway.url}/v2/models/assistant/ready`),
      await get(`${gateway.url}/v2/models/assistant/ready`, batch),
      await get(`${gateway.url}/v1/models/assistant`, batch),
    ];
    expect(asked.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(await called()).toBe('0');
    await ask('batch');
    expect(await called()).toBe('1');
  });

  test.each([[['openai']], [['v1']], [['v2']]])(
    'is there where its services speak %p, whichever protocol asks whether it is',
    async (protocols: string[]) => {
      const cpu = await startBackend((_seen, response) => response.end('{}'));
      closers.push(cpu.close);
      const one = { ...service('cpu', { ready: [cpu.address] }), protocols };
      gateway.store.apply({ ...table([one as ServiceRoute]), policy: { access, models } }, -1);
      for (const path of ['/v2/models/assistant/ready', '/v1/models/assistant'])
        expect((await get(gateway.url + path)).status).toBe(200);
    },
  );

  test('fails over to the next class, and says which one answered', async () => {
    const cpu = await start();
    use([cpu.address], [await refusingAddress()]);
    const answer = await ask('premium');
    expect([answer.status, answer.body]).toEqual([200, { model: 'qwen-q4' }]);
    expect(answer.headers.get('x-muster-backend-class')).toBe('cpu');
  });

  test('goes on from a stored response where that is kept, whatever the tier', async () => {
    const [cpu, gpu] = [
      await startBackend((_seen, response) => response.end('{"id":"resp_1","class":"cpu"}')),
      await startBackend((_seen, response) => response.end('{"id":"resp_2","class":"gpu"}')),
    ];
    closers.push(cpu.close, gpu.close);
    use([cpu.address], [gpu.address]);
    const respond = (id: string, more: object = {}) =>
      postJson(
        `${gateway.url}/v1/responses`,
        { model: 'assistant', input: 'x', ...more },
        { authorization: `Bearer key-of-${id}` },
      );
    expect((await respond('batch')).body).toMatchObject({ class: 'cpu' });
    expect((await respond('premium')).body).toMatchObject({ class: 'gpu' });
    expect((await respond('premium', { previous_response_id: 'resp_1' })).body).toMatchObject({
      class: 'cpu',
    });
  });

  test('is listed beside its services, and is asked for by its namespace from elsewhere', async () => {
    const cpu = await start();
    use([cpu.address], []);
    const list = await get(`${gateway.url}/v1/models`);
    expect((list.body as { models: string[] }).models).toEqual(['assistant', 'cpu', 'gpu']);
    expect((await get(`${gateway.url}/v1/models/assistant`)).body).toMatchObject({
      id: 'assistant',
      ready: true,
    });
    expect((await ask('batch', 'default/assistant')).body).toEqual({ model: 'qwen-q4' });
  });

  test('may be used by who may use its name, else only where its services may be used', async () => {
    const [cpu, gpu] = [await start(), await start()];
    use([cpu.address], [gpu.address]);
    expect((await ask('shared-only')).body).toEqual({ model: 'qwen-bf16' });
    expect((await ask('cheap-only')).body).toEqual({ model: 'qwen-q4' });
    expect([403, 404]).toContain((await ask('neither')).status);
    expect([403, 404]).toContain((await ask('shared-only', 'gpu')).status);
  });
});
