import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { CreatedKey } from '../../../domain/control/keys.schema.ts';
import { assignment, nodeReport, replica } from '../../fixtures/control/manifests.ts';
import { sha256 } from '../../fixtures/access/keys.ts';
import { echo, startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { postJson } from '../../fixtures/gateway/gateway.ts';

/**
 * Real processes: a control API on its own store, gateways on its stream (one of them two processes), and one from a
 * routes file. What one of them is told of keys, all are, and none forgets it when what told it is gone.
 */
const root = fileURLToPath(new URL('../../../', import.meta.url));

interface Running {
  readonly child: ChildProcess;
  readonly url: string;
  log(): string;
}

const children: ChildProcess[] = [];

async function start(file: string, env: Record<string, string>, listening: RegExp): Promise<Running> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', join(root, file)], {
    env: {
      PATH: process.env['PATH'] ?? '',
      MUSTER_LOG_LEVEL: 'info',
      MUSTER_GRPC_PORT: '0',
      MUSTER_GATEWAY_WARM_UP_MS: '0',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let text = '';
  const keep = (chunk: Buffer): void => {
    text += chunk.toString();
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  // Whole processes, one of which makes a store: on a busy machine that takes its time.
  for (let left = 90_000; !listening.test(text); left -= 50) {
    if (child.exitCode !== null || left <= 0)
      throw new Error(`${file} does not listen (exit code ${child.exitCode}): ${text}`);
    await sleep(50);
  }
  const found = listening.exec(text)?.[1] ?? '';
  return { child, url: found.startsWith('http') ? found : `http://127.0.0.1:${found}`, log: () => text };
}

async function end({ child }: Running, signal: NodeJS.Signals): Promise<void> {
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill(signal);
  await ended;
}

describe('keys, on every gateway of an installation', () => {
  let folder: string;
  let other: string;
  let backend: Backend;
  let api: Running;
  let token: string;
  let internal: string;
  const gateways: Record<'first' | 'second' | 'alone', Running> = {} as never;

  const startApi = (port = '0') =>
    start(
      'control/api/main.ts',
      { MUSTER_DATA_DIR: folder, MUSTER_API_PORT: port, MUSTER_TEMPORAL_PORT: '1' },
      /"port":(\d+),"msg":"the control API listens"/,
    );
  const startGateway = (more: Record<string, string>) =>
    start(
      'gateway/main.ts',
      { MUSTER_GATEWAY_PORT: '0', MUSTER_API_URL: api.url, ...more },
      /"url":"([^"]+)"[^\n]*"msg":"listening"/,
    );
  const call = async (method: string, path: string, body?: unknown, bearer = token) => {
    const answer = await fetch(api.url + path, {
      method,
      headers: {
        authorization: `Bearer ${bearer}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return await answer.json();
  };
  const createKey = async (body: object) =>
    (await call('POST', '/apis/muster.dev/v1alpha1/keys', body)) as CreatedKey;
  const ask = async ({ url }: Running, key: string | null) =>
    (
      await postJson(
        `${url}/v1/completions`,
        { model: 'tiny' },
        key === null ? {} : { authorization: `Bearer ${key}` },
      )
    ).status;
  const all = async (key: string | null, status: number) => {
    for (const gateway of [gateways.first, gateways.second]) {
      // Twice as often as there are processes, on connections of their own.
      for (let time = 0; time < 4; time += 1) if ((await ask(gateway, key)) !== status) return false;
    }
    return true;
  };
  const writeRoutes = async (keys: CreatedKey[]) => {
    const policy = {
      access: { mode: 'required', keys: keys.map(({ id, key }) => ({ id, sha256: sha256(key) })) },
    };
    const services = [{ name: 'tiny', endpoints: [backend.address] }];
    await writeFile(join(folder, 'routes.json'), JSON.stringify({ services, policy }));
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'muster-keys-'));
    other = await mkdtemp(join(tmpdir(), 'muster-keys-other-'));
    backend = await startBackend(echo);
    api = await startApi();
    token = (await readFile(join(folder, 'token'), 'utf8')).trim();
    internal = (await readFile(join(folder, 'internal-token'), 'utf8')).trim();
    await writeFile(join(other, 'internal-token'), internal);
    const ready = replica('tiny', 'r1', Number(new URL(backend.address).port));
    await call('PUT', '/internal/nodes/local/report', nodeReport('local', [ready]), internal);
    const routes = { ...assignment('tiny', [{ revision: 'r1', percent: 100 }]), protocols: ['openai'] };
    await call('PUT', '/internal/routes/default/tiny', routes, internal);
    gateways.first = await startGateway({ MUSTER_DATA_DIR: folder });
    gateways.second = await startGateway({ MUSTER_DATA_DIR: other, MUSTER_GATEWAY_PROCESSES: '2' });
  }, 300_000);
  afterAll(async () => {
    for (const child of children) child.kill('SIGKILL');
    await backend.close();
    for (const path of [folder, other]) await rm(path, { recursive: true, force: true, maxRetries: 5 });
  });

  test('an installation is open, until its policy closes it', async () => {
    await until(() => all(null, 200));
    await call('PUT', '/apis/muster.dev/v1alpha1/gatewaypolicies/default', {
      apiVersion: 'muster.dev/v1alpha1',
      kind: 'GatewayPolicy',
      metadata: { name: 'default' },
      spec: { access: { mode: 'required' } },
    });
    await until(() => all(null, 401));
  }, 120_000);

  test('a key opens all of them, and none any more once it is revoked; others stay good', async () => {
    const [stays, goes] = [await createKey({ name: 'stays' }), await createKey({ name: 'goes' })];
    await writeRoutes([stays, goes]);
    gateways.alone = await startGateway({
      MUSTER_DATA_DIR: join(other, 'alone'),
      MUSTER_GATEWAY_ROUTES: join(folder, 'routes.json'),
    });
    await until(async () => (await all(goes.key, 200)) && (await ask(gateways.alone, goes.key)) === 200);
    await call('DELETE', `/apis/muster.dev/v1alpha1/keys/${goes.id}`);
    await writeRoutes([stays]);
    await until(async () => (await all(goes.key, 401)) && (await ask(gateways.alone, goes.key)) === 401);
    expect(await all(stays.key, 200)).toBe(true);
    expect(await ask(gateways.alone, stays.key)).toBe(200);

    // Everything that told them is killed; what they know of keys is on disk, by hashes alone.
    await end(api, 'SIGKILL');
    for (const gateway of [gateways.first, gateways.second]) await end(gateway, 'SIGKILL');
    for (const path of [folder, other]) {
      const saved = await readFile(join(path, 'gateway', 'route-table.json'), 'utf8');
      expect(saved).toContain(stays.id);
      for (const { key } of [stays, goes]) expect(saved).not.toContain(key.slice(14));
    }
    gateways.first = await startGateway({ MUSTER_DATA_DIR: folder });
    gateways.second = await startGateway({ MUSTER_DATA_DIR: other, MUSTER_GATEWAY_PROCESSES: '2' });
    expect(await all(stays.key, 200)).toBe(true);
    expect(await all(goes.key, 401)).toBe(true);
    expect(await all(null, 401)).toBe(true);

    // A gateway that was never told anything serves nobody.
    await mkdir(join(other, 'fresh'));
    const fresh = await startGateway({ MUSTER_DATA_DIR: join(other, 'fresh') });
    expect(await ask(fresh, stays.key)).toBe(503);
    await end(fresh, 'SIGTERM');

    // The control API comes back, and with it keys and policy.
    api = await startApi(new URL(api.url).port);
    const late = await createKey({ name: 'late', ttlSeconds: 3600 });
    await until(() => all(late.key, 200));
    expect(await all(goes.key, 401)).toBe(true);
    for (const running of [api, ...Object.values(gateways)]) {
      for (const { key } of [stays, goes, late]) expect(running.log()).not.toContain(key.slice(14));
    }
    for (const seen of backend.seen) expect(seen.headers.authorization).toBeUndefined();
  }, 400_000);
});
