import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { Ports } from '../../../../activities/local/replica/port.ts';
import { Records } from '../../../../activities/local/replica/records.ts';
import { Supervisor } from '../../../../activities/local/replica/supervisor.ts';
import { revisionId, type Workload } from '../../../../domain/workload/workload.ts';
import { ask, eventually, isAlive } from '../../../fixtures/agent/waiting.ts';
import { root, workloadOf } from '../../../fixtures/agent/workloads.ts';

let folder: string;
const open: Supervisor[] = [];
const never = new AbortController().signal;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-supervisor-'));
});

afterEach(async () => {
  for (const supervisor of open.splice(0)) await supervisor.close('leave');
  // Whoever is on the last record, its servers are stopped by one more supervisor.
  const sweeper = await supervise();
  await sweeper.close('stop');
  open.length = 0;
  await rm(folder, { recursive: true, force: true });
});

async function supervise(records = new Records(join(folder, 'agent'))): Promise<Supervisor> {
  const node = {
    host: '127.0.0.1',
    cwd: root,
    env: {
      PATH: process.env['PATH'],
      HOME: folder,
      MUSTER_SECRET: 'x',
      HF_TOKEN: 'y',
      TEMPORAL_ADDRESS: 'z',
    },
    modelLogs: join(folder, 'model-logs'),
    ports: new Ports(),
    now: () => Date.now(),
    logger: pino({ level: 'silent' }),
  };
  const supervisor = new Supervisor(node, records);
  open.push(supervisor);
  await supervisor.start();
  return supervisor;
}

function apply(supervisor: Supervisor, workload: Workload): ReturnType<Supervisor['apply']> {
  return supervisor.apply({ workload, modelDir: join(folder, 'model'), bin: [] });
}

function report(supervisor: Supervisor, workload: Workload, index = 0) {
  return supervisor.inspect(revisionId(workload))?.reports.find((r) => r.index === index);
}

async function ready(supervisor: Supervisor, workload: Workload, index = 0): Promise<string> {
  return await eventually('a ready replica', () => {
    const found = report(supervisor, workload, index);
    return found?.state === 'Ready' && found.address;
  });
}

async function pidOf(address: string): Promise<number> {
  return Number(await eventually('a pid', () => ask(`${address}/pid`)));
}

describe('Supervisor', () => {
  test('runs the replicas that were applied, each on a port of its own, and keeps them when applied again', async () => {
    const supervisor = await supervise();
    const workload = workloadOf('iris', [], { replicas: 2 });
    expect(apply(supervisor, workload)).toEqual({ started: 2, kept: 0, stopped: 0 });
    const addresses = [await ready(supervisor, workload, 0), await ready(supervisor, workload, 1)];
    expect(new Set(addresses).size).toBe(2);
    const pid = await pidOf(addresses[0]!);
    expect(apply(supervisor, workload)).toEqual({ started: 0, kept: 2, stopped: 0 });
    expect(apply(supervisor, { ...workload, replicas: 1 })).toEqual({ started: 0, kept: 1, stopped: 1 });
    await eventually('one replica', () => supervisor.snapshot().replicas.length === 1);
    expect(await pidOf(addresses[0]!)).toBe(pid);
    expect(await ask(`${addresses[1]!}/pid`)).toBeNull();
  });

  test('gives a server its placeholders, its folder and an environment without secrets', async () => {
    const supervisor = await supervise();
    const workload = workloadOf('iris', [], {
      env: [{ name: 'WHERE', value: '{{.ModelDir}}:{{.GrpcPort}}' }],
    });
    apply(supervisor, workload);
    const address = await ready(supervisor, workload);
    const where = JSON.parse((await ask(`${address}/where`))!) as unknown;
    expect(where).toEqual({ cwd: root, modelDir: join(folder, 'model') });
    const env = JSON.parse((await ask(`${address}/environment`))!) as Record<string, string>;
    expect(env['WHERE']).toMatch(/model:\d+$/);
    expect(Object.keys(env).sort()).toEqual(expect.arrayContaining(['HOME', 'LANG', 'PATH', 'WHERE']));
    expect(Object.keys(env).filter((name) => /MUSTER|TOKEN|TEMPORAL/.test(name))).toEqual([]);
  });

  test('gives the port of gRPC as the address of a server that speaks nothing else, also once adopted', async () => {
    const supervisor = await supervise();
    const env = [{ name: 'GRPC', value: '{{.GrpcPort}}' }];
    const workload = workloadOf('iris', [], { env, protocols: ['grpc-v2'] });
    const both = workloadOf('both', [], { env, protocols: ['v2', 'grpc-v2'] });
    apply(supervisor, workload);
    apply(supervisor, both);
    const rest = await ready(supervisor, both);
    const port = (JSON.parse((await ask(`${rest}/environment`))!) as { GRPC: string }).GRPC;
    expect(rest).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(rest).not.toContain(port);
    const address = await ready(supervisor, workload);
    expect(address).toMatch(/^grpc:\/\/127\.0\.0\.1:\d+$/);
    await supervisor.close('leave');
    expect(await ready(await supervise(), workload)).toBe(address);
  });

  test('starts a killed server again and says how it ended', async () => {
    const supervisor = await supervise();
    const workload = workloadOf('iris');
    apply(supervisor, workload);
    const pid = await pidOf(await ready(supervisor, workload));
    process.kill(pid, 'SIGKILL');
    const failure = await eventually('a failure', () => report(supervisor, workload)?.failure);
    expect(failure).toMatchObject({ reason: 'RuntimeUnhealthy', exitCode: 137 });
    expect(failure.message).toContain('The server was ended by SIGKILL.');
    const again = await pidOf(await ready(supervisor, workload));
    expect(again).not.toBe(pid);
    expect(report(supervisor, workload)).toMatchObject({ restarts: 1, state: 'Ready' });
  });

  test('keeps the last words and the exit code of a server that ends at once, and backs off', async () => {
    const supervisor = await supervise();
    const workload = workloadOf('broken', ['--say', 'the model file is not there', '--exit-code', '3']);
    apply(supervisor, workload);
    const found = await eventually('a crash loop', () => {
      const r = report(supervisor, workload);
      return r?.state === 'CrashLoopBackOff' && r;
    });
    expect(found.restarts).toBe(2);
    expect(found.failure).toMatchObject({ reason: 'ModelLoadFailed', exitCode: 3 });
    expect(found.failure?.message).toContain('the model file is not there');
  });

  test('says so when the program does not exist', async () => {
    const supervisor = await supervise();
    const workload = workloadOf('none', [], { command: ['no-such-program'] });
    apply(supervisor, workload);
    const failure = await eventually('a failure', () => report(supervisor, workload)?.failure);
    expect(failure).toMatchObject({ exitCode: 127 });
    expect(failure.message).toContain('The program no-such-program is not in');
  });

  test('reports a server that stops answering its probe as not ready, then replaces it', async () => {
    const supervisor = await supervise();
    const workload = workloadOf('hangs', [], { startupTimeoutMs: 5_000 });
    apply(supervisor, workload);
    const address = await ready(supervisor, workload);
    const pid = await pidOf(address);
    await ask(`${address}/unready`);
    await eventually('NotReady', () => report(supervisor, workload)?.state === 'NotReady');
    await eventually('its end', () => !isAlive(pid));
    await ready(supervisor, workload);
    expect(report(supervisor, workload)?.restarts).toBe(1);
  });

  test('takes an open port for readiness when there is no path', async () => {
    const supervisor = await supervise();
    const base = workloadOf('tcp');
    const workload = { ...base, readiness: { ...base.readiness, path: null } };
    apply(supervisor, workload);
    await ready(supervisor, workload);
    expect(report(supervisor, workload)?.state).toBe('Ready');
  });

  test('removes a revision once its server is gone, by SIGKILL where SIGTERM is ignored', async () => {
    const supervisor = await supervise();
    const workload = workloadOf('stubborn', ['--ignore-term'], { terminationGraceMs: 200 });
    apply(supervisor, workload);
    const pid = await pidOf(await ready(supervisor, workload));
    expect(await supervisor.remove(revisionId(workload), never)).toBe(1);
    await eventually('its end', () => !isAlive(pid));
    expect(await readdir(join(folder, 'agent'))).toEqual([]);
    expect(await supervisor.remove(revisionId(workload), never)).toBe(0);
  });

  test('adopts running servers after a restart: same pid, never not ready', async () => {
    const first = await supervise();
    const workload = workloadOf('iris', [], { replicas: 2 });
    apply(first, workload);
    const pids = [await pidOf(await ready(first, workload, 0)), await pidOf(await ready(first, workload, 1))];
    await first.close('leave');
    const second = await supervise();
    expect(report(second, workload)?.state).toBe('Ready');
    expect(apply(second, workload)).toEqual({ started: 0, kept: 2, stopped: 0 });
    expect(await pidOf(await ready(second, workload, 1))).toBe(pids[1]);
    process.kill(pids[0]!, 'SIGKILL');
    const failure = await eventually('a failure', () => report(second, workload)?.failure);
    expect(failure.message).toMatch(/exit code is not known/);
    expect(await pidOf(await ready(second, workload, 0))).not.toBe(pids[0]);
  });

  test('does not take a stranger with the same pid for its server', async () => {
    const first = await supervise();
    const workload = workloadOf('iris');
    apply(first, workload);
    const pid = await pidOf(await ready(first, workload));
    await first.close('stop');
    const [file] = await readdir(join(folder, 'agent'));
    const path = join(folder, 'agent', file!);
    const record = JSON.parse(await readFile(path, 'utf8')) as {
      replicas: { replica: object; process: object }[];
    };
    // This very process has the pid that the record names, but another start time.
    record.replicas[0]!.process = { pid: process.pid, identity: 'boot/1', port: 1, argv: ['x'] };
    record.replicas[0]!.replica = { ...record.replicas[0]!.replica, phase: 'running', ready: true };
    await writeFile(path, JSON.stringify(record));
    const second = await supervise();
    expect(await pidOf(await ready(second, workload))).not.toBe(pid);
    await second.remove(revisionId(workload), never);
    expect(isAlive(process.pid)).toBe(true);
  });

  test('finds a server that was started and not recorded, by its arguments', async () => {
    const first = await supervise();
    const workload = workloadOf('iris');
    apply(first, workload);
    const pid = await pidOf(await ready(first, workload));
    await first.close('leave');
    const [file] = await readdir(join(folder, 'agent'));
    const path = join(folder, 'agent', file!);
    const record = JSON.parse(await readFile(path, 'utf8')) as {
      replicas: { process: Record<string, unknown> }[];
    };
    Object.assign(record.replicas[0]!.process, { pid: null, identity: null });
    await writeFile(path, JSON.stringify(record));
    const second = await supervise();
    expect(await pidOf(await ready(second, workload))).toBe(pid);
  });

  test('an applied revision that has another program or model runs that, not what ran under its name', async () => {
    const supervisor = await supervise();
    const workload = workloadOf('again');
    apply(supervisor, workload);
    const first = await pidOf(await ready(supervisor, workload));
    apply(supervisor, workload);
    expect(await pidOf(await ready(supervisor, workload))).toBe(first);
    const other = { ...workload, env: [...workload.env, { name: 'WHICH', value: 'other' }] };
    apply(supervisor, other);
    await eventually('the end of the first', () => !isAlive(first));
    expect(await pidOf(await ready(supervisor, other))).not.toBe(first);
  });

  test('stops a revision also where its record cannot be written, as on a full disk', async () => {
    const records = new Records(join(folder, 'agent'));
    const supervisor = await supervise(records);
    const workload = workloadOf('full');
    apply(supervisor, workload);
    const pid = await pidOf(await ready(supervisor, workload));
    records.save = () => {
      throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    };
    expect(await supervisor.remove(revisionId(workload), never)).toBe(1);
    await eventually('its end', () => !isAlive(pid));
  });

  test('stops all servers at its end and brings them back at the next start', async () => {
    const first = await supervise();
    const workload = workloadOf('iris');
    apply(first, workload);
    const pid = await pidOf(await ready(first, workload));
    await first.close('stop');
    await eventually('its end', () => !isAlive(pid));
    const second = await supervise();
    expect(await pidOf(await ready(second, workload))).not.toBe(pid);
    expect(report(second, workload)?.failure).toBeUndefined();
  });

  test('sets a record that is not readable aside and runs the others', async () => {
    const first = await supervise();
    const workload = workloadOf('iris');
    apply(first, workload);
    await first.close('stop');
    await writeFile(join(folder, 'agent', 'other.json'), '{');
    const second = await supervise();
    await ready(second, workload);
    expect(await readdir(join(folder, 'agent'))).toContain('other.json.bad');
  });
});
