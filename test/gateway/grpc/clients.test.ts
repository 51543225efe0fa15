import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { pino } from 'pino';
import { freePort } from '../../../control/up/ports.ts';
import { startGrpc } from '../../../gateway/grpc/server.ts';
import type { RunningGrpc } from '../../../gateway/grpc/server.ts';
import { defaultLimits } from '../../../gateway/limits.ts';
import { hasPython, pythonEnvironment } from '../../fixtures/environments.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { requirePart } from '../../fixtures/require.ts';
import { fixtureModel, startModelServer } from '../../fixtures/runtime/server.ts';
import type { ModelServer } from '../../fixtures/runtime/server.ts';

const root = new URL('../../../', import.meta.url).pathname;
const fixtures = join(root, 'test/fixtures/grpc');
const run = promisify(execFile);
const test = requirePart('python3 with venv', hasPython(), 'tritonclient and MLServer come from PyPI');

/** Over our ONNX server, which speaks REST, and over MLServer, which is asked by gRPC. */
describe("tritonclient's gRPC client, unmodified", () => {
  let servers: ModelServer[] = [];
  let mlserver: ChildProcess | null = null;
  let gateway: TestGateway;
  let grpc: RunningGrpc;
  let silent: Backend;
  let seen: Record<string, unknown>;

  beforeAll(async () => {
    if (!hasPython()) return;
    const client = await pythonEnvironment(['tritonclient[grpc]==2.73.0', 'numpy==2.4.6']);
    const server = await pythonEnvironment(['mlserver==1.7.1']);
    const iris = join(root, 'deploy/samples/models/iris');
    servers = await Promise.all([
      startModelServer(['--model_name=echo', `--model_dir=${fixtureModel('echo')}`]),
      startModelServer(['--model_name=iris', `--model_dir=${iris}`]),
    ]);
    const mlserverPort = await startMlserver(server);
    silent = await startBackend(() => undefined); // never answers
    const [echo = '', irisUrl = ''] = servers.map(({ url }) => url);
    gateway = await startTestGateway({}, [
      service('echo', { ready: [echo], protocols: ['v2'] }),
      service('iris', { ready: [irisUrl], protocols: ['v2'] }),
      service('silent', { ready: [silent.address], protocols: ['v2'] }),
      service('same', { ready: [`grpc://127.0.0.1:${mlserverPort}`], protocols: ['grpc-v2'] }),
    ]);
    const { handle, isStranger, metrics } = gateway;
    grpc = await startGrpc({
      host: '127.0.0.1',
      port: 0,
      limits: defaultLimits,
      logger: pino({ level: 'silent' }),
      registry: metrics.registry,
      handle,
      isStranger,
    });
    const script = join(fixtures, 'triton_grpc_client.py');
    const { stdout } = await run(client, [script, `127.0.0.1:${grpc.port}`, 'same']);
    seen = JSON.parse(stdout) as Record<string, unknown>;
  }, 900_000);

  afterAll(async () => {
    mlserver?.kill('SIGKILL');
    await grpc.stop();
    await gateway.close();
    await Promise.all([silent.close(), ...servers.map((server) => server.end())]);
  });

  const startMlserver = async (python: string): Promise<number> => {
    const [http, port] = [await freePort('127.0.0.1'), await freePort('127.0.0.1')];
    const started = spawn(join(python, '../mlserver'), ['start', join(fixtures, 'mlserver-echo')], {
      env: {
        PATH: process.env['PATH'],
        PYTHONDONTWRITEBYTECODE: '1',
        MLSERVER_HOST: '127.0.0.1',
        MLSERVER_HTTP_PORT: String(http),
        MLSERVER_GRPC_PORT: String(port),
        MLSERVER_PARALLEL_WORKERS: '0',
        MLSERVER_METRICS_ENDPOINT: '',
      },
      stdio: 'ignore',
    });
    mlserver = started;
    const until = Date.now() + 120_000;
    for (;;) {
      const answer = await fetch(`http://127.0.0.1:${http}/v2/models/same/ready`).catch(() => null);
      if (answer?.status === 200) return port;
      if (Date.now() > until || started.exitCode !== null) throw new Error('MLServer did not start');
      await sleep(200);
    }
  };

  const datatypes = ['BOOL', 'BYTES', 'FP16', 'FP32', 'FP64', 'INT16', 'INT32', 'INT64', 'INT8'];
  const all = [...datatypes, 'UINT16', 'UINT32', 'UINT64', 'UINT8'];
  const allSame = Object.fromEntries(all.map((datatype) => [datatype, true]));

  test('asks for server, models and repository', () => {
    expect(seen).toMatchObject({
      live: true,
      ready: true,
      model_ready: true,
      server: 'muster',
      index: ['echo', 'iris', 'same', 'silent'],
    });
  });

  test('gets every datatype back from a REST server as it sent it, and its request id', () => {
    expect(seen['echo']).toEqual(allSame);
    expect(seen['id']).toBe('r-1');
  });

  test('gets every datatype back from a gRPC server as it sent it, bytes that are no text, too', () => {
    expect(seen['same']).toEqual(allSame);
    expect(seen['same_metadata']).toBe('same');
  });

  test('gets the answers of a stream in order, an error in its place', () => {
    const ids = Array.from({ length: 20 }, (_, at) => (at === 7 ? 'error' : `s${at}`));
    expect(seen['stream']).toEqual(ids);
    expect(seen['stream_same']).toBe(true);
    expect(seen['async_error']).toBeNull();
  });

  test('reads the status of what fails', () => {
    expect(seen).toMatchObject({
      bad_shape: { status: 'StatusCode.INVALID_ARGUMENT' },
      unknown: { status: 'StatusCode.NOT_FOUND', message: expect.stringContaining('no-such-model') },
      unknown_ready: { status: 'StatusCode.NOT_FOUND' },
      too_late: { status: 'StatusCode.DEADLINE_EXCEEDED' },
    });
  });

  test('unloads and loads', () => {
    expect(seen['ready_after_unload']).toMatchObject({ status: 'StatusCode.NOT_FOUND' });
    expect(seen['ready_after_load']).toBe(true);
  });

  test('and a REST client gets from the gRPC server what it sent', async () => {
    const inputs = [{ name: 'x', shape: [2], datatype: 'INT64', data: [1, -2] }];
    const answer = await postJson(`${gateway.url}/v2/models/same/infer`, { inputs });
    expect(answer.body).toMatchObject({ model_name: 'same', outputs: [{ name: 'x', data: [1, -2] }] });
  });
});
