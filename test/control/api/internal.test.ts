import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { RouteTable } from '../../../domain/route-table/route-table.schema.ts';
import type { ApiHarness } from '../../fixtures/control/api-harness.ts';
import { startApi } from '../../fixtures/control/api-harness.ts';
import { assignment, nodeReport, replica, service } from '../../fixtures/control/manifests.ts';

const revision = 'iris-predictor-00001';

describe('what processes tell each other through the control API', () => {
  let api: ApiHarness;
  let open: AbortController;
  beforeEach(async () => {
    open = new AbortController();
    api = await startApi({ streams: { heartbeatMs: 50 } });
  });
  afterEach(async () => {
    open.abort();
    await api.close();
  });

  /** Reads lines of a stream, as gateways and the observer do. */
  async function stream(path: string): Promise<() => Promise<string>> {
    const answer = await fetch(`${api.url}${path}`, {
      headers: { authorization: `Bearer ${api.internalToken}` },
      signal: open.signal,
    });
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    let buffer = '';
    return async () => {
      while (!buffer.includes('\n')) {
        const { value, done } = await reader.read();
        if (done) throw new Error('the stream ended');
        buffer += value;
      }
      const line = buffer.slice(0, buffer.indexOf('\n'));
      buffer = buffer.slice(line.length + 1);
      return line;
    };
  }
  async function nextTable(line: () => Promise<string>): Promise<RouteTable> {
    for (;;) {
      const text = await line();
      if (text !== '') return JSON.parse(text) as RouteTable;
    }
  }
  const report = (replicas = [replica('iris', revision, 9001)]) =>
    api.internal('PUT', '/internal/nodes/local/report', nodeReport('local', replicas));
  const route = (traffic = [{ revision, percent: 100 }]) =>
    api.internal('PUT', '/internal/routes/default/iris', assignment('iris', traffic));

  test('a gateway wakes a service by name; one that nobody knows, a bad body or no token change nothing', async () => {
    await api.lifecycle.apply(service('iris'));
    const wake = (body: unknown) => api.internal('POST', '/internal/wake', body);
    expect((await wake({ namespace: 'default', name: 'iris' })).status).toBe(200);
    expect(api.lifecycle.calls.at(-1)).toBe('wake default/iris');
    const calls = api.lifecycle.calls.length;
    expect((await wake({ namespace: 'default', name: 'nobody' })).status).toBe(404);
    expect((await wake({ namespace: 'default' })).status).toBe(422);
    const open = await fetch(`${api.url}/internal/wake`, { method: 'POST', body: '{}' });
    expect(open.status).toBe(401);
    expect(api.lifecycle.calls.slice(calls)).not.toContain('wake default/iris');
  });

  test('traffic goes to a revision only once a node reports a ready replica of it', async () => {
    expect((await route()).status).toBe(409);
    await report([replica('iris', revision, 9001, 'Starting')]);
    const refused = await route();
    expect(refused.status).toBe(409);
    expect(refused.body).toMatchObject({ code: 'conflict' });
    await report();
    expect(await route()).toMatchObject({ status: 200, body: { version: expect.any(Number) as unknown } });
  });

  test('a gateway gets the whole table at once, each change as a new version, and blank lines in between', async () => {
    const line = await stream('/internal/routes/stream?gateway=g1');
    const first = await nextTable(line);
    expect(first.services).toEqual([]);
    await report();
    const { body } = await route();
    const second = await nextTable(line);
    expect(second.version).toBe((body as { version: number }).version);
    expect(second.version).toBeGreaterThan(first.version);
    expect(second.services[0]?.targets).toEqual([
      { revision, percent: 100, endpoints: [{ address: 'http://127.0.0.1:9001', revision, ready: true }] },
    ]);
    await report([replica('iris', revision, 9001, 'NotReady')]);
    const third = await nextTable(line);
    expect(third.services[0]?.targets[0]?.endpoints[0]?.ready).toBe(false);
    expect(await line()).toBe('');
  });

  test('what changes nothing makes no new version', async () => {
    await report();
    const first = await route();
    await report();
    expect((await route()).body).toEqual(first.body);
  });

  test('gateways are known while their stream is open, with what they report', async () => {
    const line = await stream('/internal/routes/stream?gateway=g1');
    await nextTable(line);
    await api.internal('POST', '/internal/gateways/report', {
      gateway: 'g1',
      version: 3,
      draining: { 'http://127.0.0.1:9001': 2 },
    });
    expect((await api.internal('GET', '/internal/gateways')).body).toMatchObject({
      gateways: [{ gateway: 'g1', version: 3, draining: { 'http://127.0.0.1:9001': 2 } }],
    });
    open.abort();
    // It is most likely reconnecting, and serves from the table that it had: its word counts a while longer.
    const listed = async () =>
      (await api.internal('GET', '/internal/gateways')).body as { gateways: unknown[]; isSettled: boolean };
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect((await listed()).gateways).toHaveLength(1);
    api.clock.now += 11_000;
    expect(await listed()).toEqual({ gateways: [], isSettled: true });
  });

  test('a gateway that has a newer table than the store is overtaken, so that no version means two tables', async () => {
    const line = await stream('/internal/routes/stream?gateway=g1');
    await nextTable(line);
    await api.internal('POST', '/internal/gateways/report', { gateway: 'g1', version: 500, draining: {} });
    expect((await nextTable(line)).version).toBe(501);
    await api.restart();
    const again = await stream('/internal/routes/stream?gateway=g1');
    expect((await nextTable(again)).version).toBe(501);
  });

  test('after a restart the API has its endpoints and its version at once, before any node reports again', async () => {
    await report();
    const before = await route();
    await api.restart();
    const table = await nextTable(await stream('/internal/routes/stream?gateway=g1'));
    expect(table.version).toBe((before.body as { version: number }).version);
    expect(table.services[0]?.targets[0]?.endpoints).toHaveLength(1);
  });

  test('what a node last said is on disk before it is told that it was heard', async () => {
    await report([replica('iris', revision, 9001, 'Starting')]);
    await report([replica('iris', revision, 9001, 'Ready')]);
    const stored = await api.store.routing.reports();
    expect(stored[0]?.replicas[0]?.state).toBe('Ready');
  });

  test('an API that has just started says that its gateways may not have found it again', async () => {
    const settled = async () =>
      ((await api.internal('GET', '/internal/gateways')).body as { isSettled: boolean }).isSettled;
    expect(await settled()).toBe(true);
    await report();
    await route();
    await api.restart();
    expect(await settled()).toBe(false);
    await nextTable(await stream('/internal/routes/stream?gateway=g1'));
    expect(await settled()).toBe(true);
  });

  test('traffic stays with the servers of a node that has fallen silent', async () => {
    await report();
    await route();
    api.clock.now += 60_000;
    const table = await nextTable(await stream('/internal/routes/stream?gateway=g1'));
    expect(table.services[0]?.targets[0]?.endpoints[0]?.ready).toBe(true);
    expect((await api.call('GET', '/apis/muster.dev/v1alpha1/status')).body).toMatchObject({
      nodes: [{ node: 'local' }],
    });
  });

  test('a status of an older generation never overwrites a newer one', async () => {
    const object = (generation: number) => ({
      object: {
        ...service('iris', undefined, 'default'),
        metadata: { name: 'iris', namespace: 'default', generation },
      },
      phase: 'Ready',
    });
    expect((await api.internal('PUT', '/internal/inferenceservices/default/iris', object(2))).status).toBe(
      200,
    );
    expect((await api.internal('PUT', '/internal/inferenceservices/default/iris', object(1))).status).toBe(
      409,
    );
    expect((await api.internal('DELETE', '/internal/inferenceservices/default/iris')).status).toBe(200);
    expect((await api.internal('DELETE', '/internal/inferenceservices/default/iris')).status).toBe(200);
  });

  test('the observer sees services beside replicas, again on every change', async () => {
    const line = await stream('/internal/observations/stream');
    const first = JSON.parse(await line()) as { replicas: unknown[]; runtimesVersion: number };
    expect(first.replicas).toEqual([]);
    await report();
    let text = '';
    while (!text.includes(revision)) text = await line();
    expect(JSON.parse(text)).toMatchObject({
      nodes: ['local'],
      replicas: [{ name: 'iris', state: 'Ready' }],
    });
  });

  test.each([
    [
      'a report of another node than the path names',
      'PUT',
      '/internal/nodes/other/report',
      nodeReport('local', []),
    ],
    ['a route assignment that is none', 'PUT', '/internal/routes/default/iris', { namespace: 'default' }],
    ['a gateway report without a version', 'POST', '/internal/gateways/report', { gateway: 'g' }],
  ])('%s is refused whole', async (_name, method, path, body) => {
    const answer = await api.internal(method, path, body);
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(answer.status).toBeLessThan(500);
  });

  test('logs come from the node agent that runs the replica', async () => {
    const agent = createServer((request, response) => {
      response.setHeader('content-type', 'text/plain');
      response.end(
        `${request.headers.authorization === `Bearer ${api.internalToken}` ? 'let in' : 'refused'} ${request.url ?? ''}`,
      );
    });
    await new Promise<void>((resolve) => agent.listen(0, '127.0.0.1', resolve));
    const agentAddress = `http://127.0.0.1:${(agent.address() as AddressInfo).port}`;
    await api.call(
      'PUT',
      '/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/iris',
      service('iris'),
    );
    await api.internal('PUT', '/internal/nodes/local/report', {
      ...nodeReport('local', [replica('iris', revision, 9001)]),
      agentAddress,
    });
    const answer = await api.call(
      'GET',
      '/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/iris/logs?tail=5',
    );
    expect(answer.status).toBe(200);
    expect(answer.body).toContain('let in /logs/default/iris');
    expect(answer.body).toContain('tail=5');
    await new Promise((resolve) => agent.close(resolve));
  });
});
