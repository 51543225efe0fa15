import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CancelledFailure } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { pino } from 'pino';
import { agentActivities } from '../../../activities/local/activities.ts';
import { Changes } from '../../../activities/local/changes.ts';
import { Environments } from '../../../activities/local/environment/environments.ts';
import { toFailure } from '../../../activities/local/failures.ts';
import { Ports } from '../../../activities/local/replica/port.ts';
import { Records } from '../../../activities/local/replica/records.ts';
import { Supervisor } from '../../../activities/local/replica/supervisor.ts';
import { SingleFlight } from '../../../activities/local/single-flight.ts';
import { Transfers } from '../../../activities/local/transfers.ts';
import { MusterError, errorCodes } from '../../../domain/errors.ts';
import type { AgentActivities } from '../../../domain/node/messages.ts';
import { modelsIn } from '../../fixtures/agent/models.ts';
import { eventually } from '../../fixtures/agent/waiting.ts';
import { root, workloadOf } from '../../fixtures/agent/workloads.ts';

let folder: string;
let supervisor: Supervisor;
let transfers: Transfers;
let activities: AgentActivities;
const reports = { acceptedVersion: Number.MAX_SAFE_INTEGER, accepted: new Changes() };

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-activities-'));
  const node = {
    host: '127.0.0.1',
    cwd: root,
    env: process.env,
    modelLogs: join(folder, 'model-logs'),
    ports: new Ports(),
    now: () => Date.now(),
    logger: pino({ level: 'silent' }),
  };
  supervisor = new Supervisor(node, new Records(join(folder, 'agent')));
  await supervisor.start();
  transfers = new Transfers(() => undefined);
  const environments = new Environments({ folder: join(folder, 'environments'), env: process.env }, root);
  activities = agentActivities({
    models: modelsIn(folder).models,
    environments,
    supervisor,
    transfers,
    reports,
  });
});

afterEach(async () => {
  await supervisor.close('stop');
  await rm(folder, { recursive: true, force: true });
});

/** Without the SDK's line for each failed activity. */
function quiet(): MockActivityEnvironment {
  return new MockActivityEnvironment(undefined, { logger: new DefaultLogger('ERROR') });
}

function run<Name extends keyof AgentActivities>(
  name: Name,
  input: Parameters<AgentActivities[Name]>[0],
  environment = quiet(),
): Promise<unknown> {
  return environment.run(activities[name] as (input: unknown) => Promise<unknown>, input);
}

describe('the activities of a node', () => {
  test('heartbeat the transfer they report, and take it away at the end', async () => {
    await writeFile(join(folder, 'model.bin'), 'weights');
    const environment = quiet();
    const beats: unknown[] = [];
    let during = 0;
    environment.on('heartbeat', (details: unknown) => {
      beats.push(details);
      during = Math.max(during, transfers.list().length);
    });
    const models = [{ uri: join(folder, 'model.bin'), path: '' }];
    await run('fetchModels', { ...workloadOf('iris'), models }, environment);
    expect(beats[0]).toMatchObject({
      name: 'iris',
      revision: 'iris-predictor-00001',
      phase: 'Download',
      total: 7,
    });
    expect(during).toBe(1);
    expect(transfers.list()).toEqual([]);
  });

  test('fail with our codes, not to be retried where a retry cannot help', async () => {
    const models = [{ uri: 's3://bucket/x', path: '' }];
    await expect(run('fetchModels', { ...workloadOf('iris'), models })).rejects.toMatchObject({
      type: 'storage_not_supported',
      nonRetryable: true,
    });
    const stranger = { ...workloadOf('iris'), namespace: '../etc' };
    await expect(run('removeRevision', stranger)).rejects.toMatchObject({ type: 'invalid_manifest' });
    const waiting = { ...workloadOf('nobody'), replicas: 1, timeoutMs: 1_000 };
    await expect(run('awaitRevision', waiting)).rejects.toMatchObject({
      type: 'not_found',
      nonRetryable: true,
    });
  });

  test('give up a server that never becomes ready, and show its last words', async () => {
    const workload = workloadOf('slow', ['--ready-after', '600000', '--say', 'loading for ever']);
    await run('applyRevision', { workload, modelDir: folder });
    await eventually('a process', () => supervisor.snapshot().replicas[0]?.address.endsWith(':0') === false);
    const failing = run('awaitRevision', { ...workload, replicas: 1, timeoutMs: 1_500 });
    await expect(failing).rejects.toMatchObject({ type: 'model_load_failed', nonRetryable: true });
    await expect(failing).rejects.toThrow(/0 of 1 replicas became ready within 2 s.*loading for ever/s);
  });

  test('stop waiting when they are cancelled, and leave the server as it is', async () => {
    const workload = workloadOf('slow', ['--ready-after', '600000']);
    await run('applyRevision', { workload, modelDir: folder });
    const environment = quiet();
    const waiting = run('awaitRevision', { ...workload, replicas: 1, timeoutMs: 60_000 }, environment);
    environment.once('heartbeat', () => {
      environment.cancel();
    });
    await expect(waiting).rejects.toBeInstanceOf(CancelledFailure);
    expect(supervisor.snapshot().replicas).toMatchObject([{ state: 'Starting' }]);
  });

  test('wait for nothing when no replica is wanted', async () => {
    const workload = workloadOf('none', [], { replicas: 0 });
    expect(await run('applyRevision', { workload, modelDir: folder })).toEqual({
      started: 0,
      kept: 0,
      stopped: 0,
    });
    const awaited = await run('awaitRevision', { ...workload, replicas: 0, timeoutMs: 1_000 });
    expect(awaited).toEqual({ ready: 0, addresses: [] });
    expect(await run('removeRevision', workload)).toEqual({ stopped: 0 });
  });
});

describe('toFailure', () => {
  const passing = [
    'storage_unavailable',
    'control_unavailable',
    'temporal_unavailable',
    'timeout',
    'internal',
  ];

  test.each(errorCodes.map((code) => [code, passing.includes(code)] as const))(
    '%s is retried: %s',
    (code, isRetried) => {
      expect(toFailure(new MusterError(code, 'm'))).toMatchObject({ type: code, nonRetryable: !isRetried });
    },
  );

  test('knows a full disk, an abort and what it does not know', () => {
    const full = Object.assign(new Error('write'), { code: 'ENOSPC' });
    expect(toFailure(full)).toMatchObject({ type: 'disk_full', nonRetryable: true });
    expect(toFailure(new DOMException('x', 'AbortError'))).toBeInstanceOf(CancelledFailure);
    expect(toFailure(new Error('odd'))).toMatchObject({
      type: 'internal',
      nonRetryable: false,
      message: 'odd',
    });
    expect(toFailure('text')).toMatchObject({ type: 'internal', message: 'text' });
  });
});

describe('SingleFlight', () => {
  const caller = (signal = new AbortController().signal, seen: number[] = []) => ({
    signal,
    onProgress: (n: number) => seen.push(n),
  });

  test('runs once for all who ask meanwhile, tells late comers how far it is, and runs anew afterwards', async () => {
    const flights = new SingleFlight<number, number>();
    let runs = 0;
    let release: () => void = () => undefined;
    const work = async ({ report }: { report: (n: number) => void }): Promise<number> => {
      runs += 1;
      report(5);
      await new Promise<void>((resolve) => (release = resolve));
      return runs;
    };
    const late: number[] = [];
    const first = flights.run('k', work, caller());
    await new Promise((resolve) => setImmediate(resolve));
    const second = flights.run('k', work, caller(undefined, late));
    await new Promise((resolve) => setImmediate(resolve));
    release();
    expect(await Promise.all([first, second])).toEqual([1, 1]);
    expect(late).toEqual([5]);
    const third = flights.run('k', work, caller());
    await new Promise((resolve) => setImmediate(resolve));
    release();
    expect(await third).toBe(2);
  });

  test('fails for all together, and forgets the failure', async () => {
    const flights = new SingleFlight<number, number>();
    const bad = (): Promise<number> => Promise.reject(new Error('no'));
    const both = await Promise.allSettled([flights.run('k', bad, caller()), flights.run('k', bad, caller())]);
    expect(both.map((r) => r.status)).toEqual(['rejected', 'rejected']);
    expect(await flights.run('k', () => Promise.resolve(1), caller())).toBe(1);
  });

  test('does not begin anew before the run that was given up has ended', async () => {
    const flights = new SingleFlight<string, number>();
    const order: string[] = [];
    const slow = async ({ signal }: { signal: AbortSignal }): Promise<string> => {
      order.push('first begins');
      await new Promise<void>((resolve) => {
        signal.addEventListener('abort', () => setTimeout(resolve, 50), { once: true });
      });
      order.push('first ends');
      throw new Error('given up');
    };
    const leave = new AbortController();
    const first = flights.run('k', slow, caller(leave.signal));
    await new Promise((resolve) => setTimeout(resolve, 20));
    leave.abort(new Error('left'));
    await expect(first).rejects.toThrow('left');
    const fast = (): Promise<string> => {
      order.push('second begins');
      return Promise.resolve('done');
    };
    expect(await flights.run('k', fast, caller())).toBe('done');
    expect(order).toEqual(['first begins', 'first ends', 'second begins']);
  });
});
