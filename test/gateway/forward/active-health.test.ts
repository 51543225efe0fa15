import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { ResiliencePolicy } from '../../../domain/resilience/resilience-policy.schema.ts';
import { breakerState } from '../../../domain/resilience/outlier.ts';
import { refusingAddress, startBackend, startRawBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';

const chat = { model: 'm', messages: [] };

describe('health checks', () => {
  let gateway: TestGateway;
  let good: Backend;
  let moody: Backend;
  /** What the moody server answers to requests, and to questions about its health. */
  let [serves, health] = [200, 200];
  beforeEach(async () => {
    [serves, health] = [200, 200];
    gateway = await startTestGateway();
    good = await startBackend((_seen, response) => response.end('{"from":"good"}'));
    moody = await startBackend((seen, response) => {
      response.writeHead(seen.method === 'GET' ? health : serves).end('{"from":"moody"}');
    });
  });
  afterEach(async () => {
    await gateway.close();
    await good.close();
    await moody.close();
  });
  const use = (
    resilience: ResiliencePolicy,
    ready = [moody.address, good.address],
    unready: string[] = [],
  ) => {
    gateway.store.apply({ ...table([service('m', { ready, unready })], 1), policy: { resilience } }, -1);
  };
  const ask = () => postJson(`${gateway.url}/v1/chat/completions`, chat);
  const stateOf = (backend: Backend) =>
    breakerState(gateway.endpoints.bind(backend.address), performance.now());
  const questions = (backend: Backend) => backend.seen.filter(({ method }) => method === 'GET');
  const eject = async () => {
    serves = 502;
    await until(async () => {
      await ask();
      return stateOf(moody) !== 'closed';
    });
  };
  const quick = { intervalMs: 50, intervalMsMax: 100, timeoutMs: 200 };
  const outlier = { consecutiveFailures: 2, baseMs: 60_000, maxMs: 60_000 };

  test('bring an ejected server back long before its time, by a request that is its probe', async () => {
    use({ all: { activeHealth: quick, outlier } });
    health = 503;
    await eject();
    await until(() => questions(moody).length >= 2);
    expect(questions(moody)[0]?.url).toBe('/health');
    expect(stateOf(moody)).toBe('open');
    [serves, health] = [200, 200];
    await until(() => stateOf(moody) === 'half-open');
    await until(async () => ((await ask()).body as { from: string }).from === 'moody');
    expect(stateOf(moody)).toBe('closed');
    expect(questions(good)).toEqual([]);
    const metrics = (await get(`${gateway.url}/metrics`)).text;
    expect(metrics).toMatch(/muster_gateway_resilience_ejections_total\{.*\} 1/);
    expect(metrics).toMatch(/muster_gateway_resilience_health_checks_failed_total [1-9]/);
  });

  test('of all servers find the one that is ill before a request does, and never the last one', async () => {
    health = 500;
    use({ all: { activeHealth: { ...quick, mode: 'all' }, outlier } });
    await until(() => stateOf(moody) === 'open');
    for (let i = 0; i < 10; i += 1) expect((await ask()).body).toEqual({ from: 'good' });
    use({ all: { activeHealth: { ...quick, mode: 'all' }, outlier } }, [moody.address]);
    expect((await ask()).body).toEqual({ from: 'moody' });
  });

  test.each([404, 405, 501])('take %i for life: the path was only our guess', async (code) => {
    health = code;
    use({ all: { activeHealth: { ...quick, mode: 'all' }, outlier } });
    await until(() => questions(moody).length >= 2);
    expect(stateOf(moody)).toBe('closed');
  });

  test('ask the path that the policy names, at the pace that health allows', async () => {
    use({ all: { activeHealth: { ...quick, mode: 'all', path: '/well?' } } });
    await until(() => questions(moody).length >= 2);
    expect(questions(moody)[0]?.url).toBe('/well?');
  });

  test('leave alone what the table does not call ready, and everything when they are off', async () => {
    use({ all: { activeHealth: { ...quick, mode: 'all' } } }, [good.address], [moody.address]);
    await until(() => questions(good).length >= 2);
    expect(moody.seen).toEqual([]);
    use({ all: { activeHealth: { mode: 'off' }, outlier } });
    await eject();
    const count = questions(good).length;
    await until(async () => (await ask()).status === 200);
    expect(questions(moody)).toEqual([]);
    expect(questions(good).length).toBeLessThanOrEqual(count + 1);
  });

  test('take silence and refusal for illness', async () => {
    const silent = await startRawBackend(() => undefined);
    try {
      const gone = await refusingAddress();
      use(
        { all: { activeHealth: { ...quick, mode: 'all' }, outlier: { ...outlier, maxEjectedPercent: 70 } } },
        [silent.address, gone, good.address],
      );
      for (const address of [silent.address, gone])
        await until(() => breakerState(gateway.endpoints.bind(address), performance.now()) === 'open');
      expect((await ask()).body).toEqual({ from: 'good' });
    } finally {
      await silent.close();
    }
  });

  test.each([
    ['at once', 'x'.repeat(8_192), 0, 5_000],
    ['slowly', 'x', 20, 300],
  ])('end an answer that never ends, and comes %s', async (_how, piece, everyMs, timeoutMs) => {
    const open = new Set<unknown>();
    let closed = 0;
    const endless = await startRawBackend((socket) => {
      if (open.has(socket)) return;
      open.add(socket);
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      const timer = setInterval(() => socket.write(piece), everyMs);
      socket.on('close', () => {
        clearInterval(timer);
        closed += 1;
      });
    });
    try {
      use({ all: { activeHealth: { ...quick, timeoutMs, mode: 'all' } } }, [endless.address]);
      await until(() => closed >= 2);
      expect(breakerState(gateway.endpoints.bind(endless.address), performance.now())).toBe('closed');
    } finally {
      await endless.close();
    }
  });
});
