import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '../../fixtures/cli/run-cli.ts';

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly token: string | undefined;
}
type Reply = readonly [status: number, body: unknown];

const service = (status: object, generation = 1) => ({
  metadata: { name: 'iris', namespace: 'default', generation },
  spec: { predictor: { model: { modelFormat: { name: 'onnx' } } } },
  status,
});
const condition = (type: string, status: string, reason = '') => ({
  ...{ type, status, reason, lastTransitionTime: '2026-01-01T00:00:00Z' },
});
const preparing = service({ conditions: [condition('LatestDeploymentReady', 'Unknown', 'Preparing')] });
const ready = service({
  observedGeneration: 1,
  conditions: [condition('Ready', 'True')],
  modelStatus: { transitionStatus: 'UpToDate', states: {} },
});
const failed = service({
  observedGeneration: 1,
  conditions: [condition('Ready', 'False')],
  modelStatus: {
    transitionStatus: 'BlockedByFailedLoad',
    states: {},
    lastFailureInfo: { reason: 'ModelLoadFailed', message: 'it is not a model' },
  },
});

/** Commands that ask more than once, against an API that says what the test wants. */
describe('muster waits', () => {
  let folder: string;
  let server: Server;
  let asked: Asked[];
  /** What a GET of the service answers, one after the other; the last stays. */
  let answers: Reply[];

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'muster-waiting-'));
    writeFileSync(join(folder, 'token'), 'secret\n');
    asked = [];
    server = createServer((request, response) => {
      const path = request.url ?? '';
      asked.push({ method: request.method ?? '', path, token: request.headers.authorization });
      if (path.includes('/logs')) {
        response.write('first line\n');
        setTimeout(() => response.end('second line\n'), 50);
        return;
      }
      const [status, body] = replyTo(request.method ?? '', path);
      response.writeHead(status, { 'content-type': 'application/json', 'x-muster-outcome': 'created' });
      response.end(JSON.stringify(body));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterEach(() => {
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });

  function replyTo(method: string, path: string): Reply {
    if (path.endsWith('/progress')) {
      const transfer = { namespace: 'default', name: 'iris', revision: 'r', message: 'a file' };
      const transfers = [{ ...transfer, phase: 'Download', done: 12_000_000, total: 93_000_000 }];
      return [
        200,
        { transfers, replicas: [{ namespace: 'default', name: 'iris', state: 'Ready' }], notices: [] },
      ];
    }
    if (path.endsWith('/status')) {
      return [200, { nodes: [{ lastSeen: 'now' }], gateways: [{ version: 1 }], routesVersion: 1 }];
    }
    if (path.endsWith('/plan')) return [200, { action: 'Create' }];
    if (method !== 'GET') return [200, {}];
    if (path.endsWith('services'))
      return [200, { items: [ready, { ...ready, metadata: { name: 'irises' } }] }];
    if (path.endsWith('runtimes')) return [200, { items: [] }];
    return (answers.length > 1 ? answers.shift() : answers[0]) ?? [404, { detail: 'gone' }];
  }
  const muster = (...args: string[]) =>
    runCli(args, {
      cwd: folder,
      env: {
        MUSTER_DATA_DIR: folder,
        MUSTER_API_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      },
    });
  const deploy = ['deploy', 'iris', '--model', 'hf://iris', '--format', 'onnx', '--wait'];

  test('until a service is ready, and says how far it is', async () => {
    answers = [
      [200, preparing],
      [200, ready],
    ];
    const done = await muster(...deploy);
    expect(done).toMatchObject({ code: 0, stdout: 'inferenceservices/iris created\n' });
    expect(done.stderr).toBe('iris: Preparing, Download 12 MB of 93 MB\niris: Ready\n');
    expect(new Set(asked.map((a) => a.token))).toEqual(new Set(['Bearer secret']));
  });

  test('no longer once it cannot come up, and says why', async () => {
    answers = [
      [200, preparing],
      [200, failed],
    ];
    const done = await muster(...deploy);
    expect(done.code).toBe(1);
    expect(done.stderr).toContain('muster: iris did not come up. ModelLoadFailed: it is not a model\n');
  });

  test('no longer than it was told', async () => {
    answers = [[200, preparing]];
    const done = await muster(...deploy, '--timeout', '1s');
    expect(done.code).toBe(1);
    expect(done.stderr).toMatch(/iris is not ready after 1 s \(Preparing.*muster describe iris/);
  });

  test('no longer when it is stopped meanwhile', async () => {
    answers = [[200, service({ conditions: [condition('Stopped', 'True')] })]];
    expect((await muster('start', 'iris', '--wait')).stderr).toContain('iris is stopped');
  });

  test('until a deleted service is gone', async () => {
    answers = [
      [200, ready],
      [200, ready],
      [404, { detail: 'gone' }],
    ];
    expect((await muster('delete', 'iris', '--wait')).code).toBe(0);
    expect(asked.filter((a) => a.method === 'GET')).toHaveLength(3);
  });

  test('for logs as they are written', async () => {
    const logs = await muster('logs', 'iris', '-f', '--tail', '5');
    expect(logs).toMatchObject({ code: 0, stdout: 'first line\nsecond line\n' });
    expect(asked[0]?.path).toMatch(/iris\/logs\?follow=true&tail=5$/);
    expect((await muster('logs', 'iris', '--tail', 'many')).code).toBe(2);
  });

  test('not at all for what is wrong use', async () => {
    expect((await muster(...deploy, '--timeout', 'soon')).code).toBe(2);
    expect((await muster('deploy', 'iris')).code).toBe(2);
    expect((await muster('deploy', 'iris', '--min', 'x', '--model', 'm', '--format', 'f')).code).toBe(2);
    expect((await muster('get', 'nothing', 'iris')).code).toBe(2);
    expect((await muster('get', '-o', 'xml')).code).toBe(2);
    expect((await muster('delete')).code).toBe(2);
    expect(asked.filter((a) => a.method !== 'GET')).toEqual([]);
  });

  test('several manifests are all looked at before the first is sent', async () => {
    const yaml = (name: string, uri: string) => `apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: ${name}}
spec: {predictor: {model: {modelFormat: {name: onnx}, storageUri: "${uri}"}}}
`;
    writeFileSync(join(folder, 'both.yaml'), `${yaml('good', 'hf://good')}---\n${yaml('bad', './nowhere')}`);
    const refused = await muster('deploy', '-f', 'both.yaml');
    expect(refused.code).toBe(5);
    expect(refused.stderr).toContain(`${join(folder, 'nowhere')} does not exist`);
    expect(asked.map((a) => a.method)).toEqual(['POST', 'POST']);
  });

  test('names of what is deployed complete the commands that take them', async () => {
    const names = async (...words: string[]) =>
      (await muster('complete', '--', ...words)).stdout
        .split('\n')
        .filter((line) => line !== '' && !line.startsWith(':'))
        .map((line) => line.split('\t')[0]);
    expect(await names('stop', 'iris')).toEqual(['iris', 'irises']);
    expect(await names('chat', '')).toEqual(['iris', 'irises']);
    expect(await names('get', 'i')).toEqual(['isvc', 'iris', 'irises']);
    expect(await names('get', '-o', '')).toEqual(['json', 'yaml', 'wide', 'name']);
  });
});
