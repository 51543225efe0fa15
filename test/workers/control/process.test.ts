import { afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { agentTaskQueue } from '../../../domain/node/messages.ts';
import { FakeApi } from '../../activities/control/fake-api.ts';
import { Service, manifest, temporalPath, temporalTest as test } from '../../workflows/fakes/stack.ts';
import { World } from '../../workflows/fakes/world.ts';

const root = new URL('../../../', import.meta.url);
const runtime = {
  apiVersion: 'serving.kserve.io/v1alpha1',
  kind: 'ClusterServingRuntime',
  metadata: { name: 'muster-onnx', annotations: { 'muster.dev/local-environment': 'node' } },
  spec: {
    supportedModelFormats: [{ name: 'sklearn', version: '1', autoSelect: true }],
    protocolVersions: ['v1', 'v2'],
    containers: [{ name: 'kserve-container', command: ['node'], args: ['server.ts'] }],
  },
};

describe('the control worker as a process', () => {
  let folder: string;
  let port: number;
  let api: FakeApi;
  let world: World;
  const children = new Set<ChildProcess>();

  const launch = (
    program: string,
    args: readonly string[],
    env: NodeJS.ProcessEnv = process.env,
  ): ChildProcess => {
    const child = spawn(program, args, { cwd: root, env, stdio: 'ignore' });
    children.add(child);
    child.once('exit', () => children.delete(child));
    return child;
  };
  const end = async (child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> => {
    const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
    child.kill(signal);
    return exited;
  };
  const startTemporal = (): ChildProcess =>
    launch(temporalPath ?? '', [
      ...['server', 'start-dev', '--headless', '--ip', '127.0.0.1', '--port', String(port)],
      ...['--db-filename', join(folder, 'temporal.db'), '--log-level', 'never'],
    ]);
  const startWorker = (): ChildProcess =>
    launch(process.execPath, ['--disable-warning=ExperimentalWarning', 'workers/control/main.ts'], {
      ...process.env,
      NODE_OPTIONS: '',
      MUSTER_DATA_DIR: folder,
      MUSTER_API_URL: api.url,
      TEMPORAL_ADDRESS: `127.0.0.1:${port}`,
      MUSTER_LOG_LEVEL: 'silent',
    });

  beforeAll(() => {
    Runtime.install({ logger: new DefaultLogger('ERROR') });
  });
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'muster-worker-'));
    port = await freePort();
    world = new World();
    api = await FakeApi.start();
    await writeFile(join(folder, 'internal-token'), `${api.token}\n`);
    const now = () => new Date().toISOString();
    const node = () => ({
      node: 'local',
      agentAddress: 'x',
      at: now(),
      notices: [],
      replicas: [],
      transfers: [],
    });
    api.onEach('GET /internal/nodes', () => ({ nodes: [node()] }));
    api.on('GET /internal/runtimes?namespace=default', {
      servingRuntimes: [],
      clusterServingRuntimes: [runtime],
    });
    api.on('GET /internal/gateways', { gateways: [] });
  });
  afterEach(async () => {
    await Promise.all([...children].map((child) => end(child, 'SIGKILL')));
    await api.close();
    await rm(folder, { recursive: true, maxRetries: 5 });
  });

  test('waits for Temporal, survives its absence, and leaves an attempt to the next worker when killed', async () => {
    const first = startWorker(); // nothing to connect to yet
    let temporal = startTemporal();
    const connection = await eventually(() => Connection.connect({ address: `127.0.0.1:${port}` }));
    const native = await eventually(() => NativeConnection.connect({ address: `127.0.0.1:${port}` }));
    const agent = await Worker.create({
      connection: native,
      taskQueue: agentTaskQueue('local'),
      activities: world.agent(),
    });
    const service = new Service({ client: new Client({ connection }) }, 'iris');
    let isHeld = true;
    world.on('awaitRevision', async () => {
      while (isHeld) await new Promise((resolve) => setTimeout(resolve, 50));
    });
    const routes = 'PUT /internal/routes/default/iris';
    api.on(routes, { version: 1 });

    await agent.runUntil(async () => {
      await eventually(() => service.apply(manifest('iris')));
      await eventually(() => {
        expect(world.calls).toContain('awaitRevision iris-predictor-00001');
        return Promise.resolve();
      });
      await end(first, 'SIGKILL');
      isHeld = false;
      const second = startWorker();
      await eventually(() => service.untilReady(1));
      expect(world.calls.filter((call) => call.startsWith('applyRevision'))).toHaveLength(1);

      await end(temporal, 'SIGKILL');
      temporal = startTemporal();
      await eventually(() => service.apply(manifest('iris', 'file:///models/2')));
      await eventually(() => service.untilReady(2));
      expect(second.exitCode).toBeNull();
      expect(await end(second, 'SIGTERM')).toBe(0);
    });
    expect(api.bodies(routes)).toEqual([
      expect.objectContaining({ state: 'Loading' }),
      expect.objectContaining({
        state: 'Serving',
        traffic: [{ revision: 'iris-predictor-00001', percent: 100 }],
      }),
      expect.objectContaining({
        state: 'Serving',
        traffic: [{ revision: 'iris-predictor-00002', percent: 100 }],
      }),
    ]);
    await native.close();
    await connection.close();
  }, 120_000);
});

async function eventually<T>(work: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
