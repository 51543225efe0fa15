import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { ControlApi } from '../../../activities/control/api.ts';
import type { Observation } from '../../../domain/control/internal-api.schema.ts';
import type { Wake } from '../../../domain/inference-service/observe.ts';
import { Observer } from '../../../workers/observer/observer.ts';
import { FakeApi } from '../../activities/control/fake-api.ts';

const service = {
  namespace: 'default',
  name: 'iris',
  phase: 'Ready',
  transitionStatus: 'UpToDate',
  failureReason: '',
  revisions: ['iris-predictor-00001'],
};
const lost: Observation = { services: [service], replicas: [], nodes: ['local'], runtimesVersion: 1 };

describe('the observer', () => {
  let api: FakeApi;
  let client: ControlApi;
  let ending: AbortController;
  let running: Promise<void>;
  let clock: number;
  const woken: Wake[] = [];

  const start = (wake: (wake: Wake) => Promise<void>): void => {
    const observer = new Observer({
      lines: (signal) => client.lines('/internal/observations/stream', signal),
      entities: { wake, close: () => Promise.resolve() },
      log: pino({ level: 'silent' }),
      // Each look is one second after the one before.
      now: () => (clock += 1_000),
      signal: ending.signal,
      tickMs: 5,
    });
    running = observer.run();
  };
  const until = async (isIt: () => boolean): Promise<void> => {
    while (!isIt()) await new Promise((resolve) => setTimeout(resolve, 5));
  };

  beforeEach(async () => {
    api = await FakeApi.start();
    client = new ControlApi({ url: api.url, token: () => Promise.resolve(api.token) });
    ending = new AbortController();
    clock = 0;
    woken.length = 0;
  });
  afterEach(async () => {
    ending.abort();
    await running;
    await client.close();
    await api.close();
  });

  test('wakes an entity whose revision no node knows, once', async () => {
    api.stream('GET /internal/observations/stream', (response) => {
      response.write(`${JSON.stringify(lost)}\n\n`);
    });
    start((wake) => {
      woken.push(wake);
      return Promise.resolve();
    });
    await until(() => woken.length > 0);
    expect(woken).toEqual([
      expect.objectContaining({ kind: 'replicas', service: { namespace: 'default', name: 'iris' } }),
    ]);
  });

  test('comes back to a stream that broke or never was, and takes a line that arrives in pieces', async () => {
    let connections = 0;
    api.on('GET /internal/observations/stream', { code: 'internal' }, 500);
    start((wake) => {
      woken.push(wake);
      return Promise.resolve();
    });
    await until(() => api.received.length > 0);
    const text = `${JSON.stringify(lost)}\n`;
    api.stream('GET /internal/observations/stream', (response) => {
      connections += 1;
      if (connections === 1) {
        response.end('{"services":');
        return;
      }
      response.write(text.slice(0, 20));
      setTimeout(() => response.write(text.slice(20)), 20);
    });
    await until(() => woken.length > 0);
    expect(connections).toBe(2);
  });

  test('keeps the fact while Temporal is away, and tells it when it is back', async () => {
    api.stream('GET /internal/observations/stream', (response) => {
      response.write(`${JSON.stringify(lost)}\n`);
    });
    let tries = 0;
    start((wake) => {
      tries += 1;
      if (tries < 4) return Promise.reject(new Error('no connection'));
      woken.push(wake);
      return Promise.resolve();
    });
    await until(() => woken.length > 0);
    expect(tries).toBe(4);
  });
});
