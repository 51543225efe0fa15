import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ControlClient } from '../../gateway/route-table/control-client.ts';
import { startApi } from '../fixtures/control/api-harness.ts';
import type { ApiHarness } from '../fixtures/control/api-harness.ts';
import { hasPython } from '../fixtures/environments.ts';
import { echo, startBackend } from '../fixtures/gateway/backends.ts';
import type { Backend } from '../fixtures/gateway/backends.ts';
import { get, startTestGateway } from '../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../fixtures/gateway/gateway.ts';
import { service } from '../fixtures/gateway/tables.ts';
import { requirePart } from '../fixtures/require.ts';
import { fuzzOpenApi } from '../fixtures/schemathesis.ts';

const test = requirePart('python3 with venv', hasPython(), 'schemathesis needs it');

describe('the gateway', () => {
  let gateway: TestGateway;
  let backend: Backend;
  let api: ApiHarness;
  let folder: string;
  let client: ControlClient;
  beforeAll(async () => {
    backend = await startBackend(echo);
    // '0' is the name that the fuzzer likes best.
    const named = service('0', { ready: [backend.address] });
    gateway = await startTestGateway({}, [{ ...named, explainer: { targets: named.targets } }]);
    api = await startApi();
    folder = await mkdtemp(join(tmpdir(), 'muster-token-'));
    await writeFile(join(folder, 'token'), api.internalToken);
    client = new ControlClient(api.url, join(folder, 'token'));
    gateway.control.client = client;
  });
  afterAll(async () => {
    await gateway.close();
    await client.close();
    await api.close();
    await rm(folder, { recursive: true });
    await backend.close();
  });

  test('answers whatever fits its OpenAPI, and what does not, as its OpenAPI says', async () => {
    const found = await fuzzOpenApi(gateway.url, { examples: 15 });
    expect(found).toBeNull();
    expect(gateway.logs.filter(({ msg }) => msg === 'a request failed inside the gateway')).toEqual([]);
    expect((await get(`${gateway.url}/v2/health/ready`)).status).toBe(200);
  }, 300_000);
});
