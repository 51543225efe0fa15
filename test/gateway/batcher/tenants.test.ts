import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { newKey } from '../../fixtures/access/keys.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';

describe('a batch of several tenants', () => {
  let gateway: TestGateway;
  let backend: Backend;
  /** Answers that the test has not let go yet. */
  let held: (() => void)[];
  beforeEach(async () => {
    held = [];
    gateway = await startTestGateway();
    backend = await startBackend((seen, response: ServerResponse) => {
      const { instances } = JSON.parse(seen.body.toString()) as { instances: unknown[] };
      held.push(() => response.end(JSON.stringify({ predictions: instances })));
    });
  });
  afterEach(async () => {
    for (const answer of held) answer();
    await gateway.close();
    await backend.close();
  });
  const depth = async () => {
    const { text } = await get(`${gateway.url}/metrics`);
    const lines = text.split('\n').filter((line) => line.startsWith('muster_gateway_queue_depth{'));
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
  };

  test('that finds its first tenant’s share of the queue full costs the others nothing', async () => {
    const [noisy, quiet] = [newKey({ tenant: 'noisy' }), newKey({ tenant: 'quiet' })];
    const batcher = { maxBatchSize: 3, maxLatencyMs: 10_000, timeoutMs: 20_000 };
    const policy = {
      access: { mode: 'required', keys: [noisy.record, quiet.record] },
      qos: { concurrency: { perService: 1 }, queue: { tenantRequestsMax: 1 } },
    };
    const routes = table([service('m', { ready: [backend.address], batcher })], 5);
    expect(gateway.store.apply({ ...routes, policy }, -1)).not.toBeNull();
    const predict = ({ key }: typeof noisy, instances: number[]) =>
      postJson(`${gateway.url}/v1/models/m:predict`, { instances }, { authorization: `Bearer ${key}` });
    const first = predict(noisy, [1, 2, 3]); // has the one place
    await until(() => held.length === 1);
    const second = predict(noisy, [4, 5, 6]); // waits: it is its tenant's share of the queue
    await until(async () => (await depth()) === 1);
    const third = predict(noisy, [7]); // opens a batch
    await until(async () =>
      (await get(`${gateway.url}/metrics`)).text.includes('muster_gateway_batcher_waiting 1\n'),
    );
    const joining = [predict(quiet, [8]), predict(noisy, [9])];
    expect((await third).headers.get('x-muster-refused')).toBe('tenant_queue_full');
    for (let at = 1; at <= 3; at += 1) {
      await until(() => held.length > 0);
      held.shift()?.();
    }
    const [other, same] = await Promise.all(joining);
    expect([other?.status, other?.body]).toEqual([200, { predictions: [8] }]);
    expect(same?.status).toBe(429);
    for (const { status } of await Promise.all([first, second])) expect(status).toBe(200);
  });
});
