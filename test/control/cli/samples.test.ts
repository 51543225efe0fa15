import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createApi } from '../../../control/cli/api.ts';
import { deploySamples, type SampleState } from '../../../control/cli/up/samples.ts';

interface Stored {
  readonly metadata: Record<string, unknown>;
  status?: unknown;
}

const ready = {
  observedGeneration: 1,
  conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z' }],
  modelStatus: {
    transitionStatus: 'UpToDate',
    states: { activeModelState: 'Loaded', targetModelState: 'Loaded' },
  },
};
const failed = {
  observedGeneration: 1,
  conditions: [{ type: 'Ready', status: 'False', lastTransitionTime: '2026-01-01T00:00:00Z' }],
  modelStatus: {
    transitionStatus: 'BlockedByFailedLoad',
    states: { activeModelState: '', targetModelState: 'FailedToLoad' },
    lastFailureInfo: {
      reason: 'RuntimeUnhealthy',
      message: 'python3 is missing',
      time: '2026-01-01T00:00:00Z',
    },
  },
};

describe('the samples', () => {
  let folder: string;
  let server: Server;
  let store: Map<string, Stored>;
  let statuses: Record<string, unknown>;
  let refusals: number;
  let puts: string[];
  let up: string[];
  let heard: string | null;
  let gatewayVersion: number;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'muster-samples-'));
    mkdirSync(join(folder, 'samples'));
    manifest('one', 1);
    manifest('two', 1);
    store = new Map();
    statuses = { one: ready, two: ready };
    refusals = 0;
    seen = [];
    puts = [];
    up = ['one', 'two'];
    heard = '2026-01-01T00:00:00Z';
    gatewayVersion = 3;
    server = createServer((request, response) => {
      const name = (request.url ?? '').split('/').at(-1) ?? '';
      const answer = (status: number, body: unknown) => {
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
      };
      if (name === 'progress') {
        const replicas = up.map((replica) => ({ namespace: 'default', name: replica, state: 'Ready' }));
        answer(200, { transfers: [], replicas, notices: ['python3 is missing.'] });
        return;
      }
      if (name === 'status') {
        answer(200, {
          nodes: [{ lastSeen: heard }],
          gateways: [{ version: gatewayVersion }],
          routesVersion: 3,
        });
        return;
      }
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        if (request.method === 'PUT') {
          puts.push(name);
          if (puts.length <= refusals) {
            answer(503, { status: 503, code: 'temporal_unavailable', detail: 'Temporal does not answer.' });
            return;
          }
          const object = JSON.parse(body) as Stored;
          store.set(name, { ...object, metadata: { ...object.metadata, generation: 1 } });
        }
        const found = store.get(name);
        if (found === undefined) answer(404, { status: 404, code: 'not_found', detail: 'no such service' });
        else answer(200, { ...found, status: statuses[name] });
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterEach(() => {
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });

  function manifest(name: string, minReplicas: number): void {
    const text = `apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: ${name}}
spec: {predictor: {minReplicas: ${minReplicas}, model: {modelFormat: {name: onnx}, storageUri: "hf://${name}"}}}
`;
    writeFileSync(join(folder, 'samples', `${name}.yaml`), text);
  }

  let seen: (readonly SampleState[])[];
  function deploy(timeoutMs = 5000, signal = new AbortController().signal) {
    return deploySamples({
      api: createApi(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, 'token'),
      folder: join(folder, 'samples'),
      memory: join(folder, 'samples.json'),
      timeoutMs,
      signal,
      onChange: (samples) => seen.push(samples),
    });
  }
  const outcomes = (states: readonly SampleState[]) => states.map((s) => `${s.name} ${s.outcome}`).sort();

  test('are applied once and waited for; the next start leaves them as they are', async () => {
    expect(outcomes(await deploy())).toEqual(['one ready', 'two ready']);
    expect([...puts].sort()).toEqual(['one', 'two']);
    expect(outcomes(await deploy())).toEqual(['one ready', 'two ready']);
    expect(puts).toHaveLength(2);
    expect(
      Object.keys(JSON.parse(readFileSync(join(folder, 'samples.json'), 'utf8')) as object).sort(),
    ).toEqual(['one', 'two']);
  });

  test('one that its user deleted is not brought back', async () => {
    await deploy();
    store.delete('one');
    expect(outcomes(await deploy())).toEqual(['one skipped', 'two ready']);
    expect(store.has('one')).toBe(false);
  });

  test('one whose manifest changed is applied again', async () => {
    await deploy();
    manifest('one', 2);
    await deploy();
    expect(puts.filter((name) => name === 'one')).toHaveLength(2);
    expect(puts.filter((name) => name === 'two')).toHaveLength(1);
  });

  test('one that cannot come up is said with its reason, and the other goes on', async () => {
    statuses = { one: ready, two: failed };
    const states = await deploy();
    expect(outcomes(states)).toEqual(['one ready', 'two failed']);
    expect(states.find((s) => s.name === 'two')?.text).toBe('RuntimeUnhealthy: python3 is missing');
  });

  test('Temporal may come up later than the control API', async () => {
    refusals = 4;
    expect(outcomes(await deploy())).toEqual(['one ready', 'two ready']);
  });

  test('one that is never ready is given up when the time is over', async () => {
    statuses = { one: ready, two: { conditions: [] } };
    const states = await deploy(600);
    expect(outcomes(states)).toEqual(['one ready', 'two failed']);
    expect(states.find((s) => s.name === 'two')?.text).toMatch(/not ready in time/);
  });

  test.each<[string, () => void]>([
    ['no node was heard yet', () => (heard = null)],
    ['its server is not up yet', () => (up = ['one'])],
    ['no gateway knows of it yet', () => (gatewayVersion = 2)],
  ])('a status from before a restart is not believed while %s', async (_, given) => {
    given();
    setTimeout(() => {
      [heard, up, gatewayVersion] = ['2026-01-01T00:00:00Z', ['one', 'two'], 3];
    }, 600);
    expect(outcomes(await deploy())).toEqual(['one ready', 'two ready']);
    expect(seen.flat().map((s) => s.text)).toContain('Starting again');
  });

  test('the wait ends when the stack is stopped', async () => {
    statuses = { one: {}, two: {} };
    const stopped = new AbortController();
    const waiting = deploy(60_000, stopped.signal);
    setTimeout(() => {
      stopped.abort();
    }, 300);
    expect(outcomes(await waiting)).toEqual(['one failed', 'two failed']);
  });
});
