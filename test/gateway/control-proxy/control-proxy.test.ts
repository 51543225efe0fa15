import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI, { toFile } from 'openai';
import { ControlClient } from '../../../gateway/route-table/control-client.ts';
import { newKey, useAccess } from '../../fixtures/access/keys.ts';
import { startApi } from '../../fixtures/control/api-harness.ts';
import type { ApiHarness } from '../../fixtures/control/api-harness.ts';
import { echo, startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

describe('files and batches through the gateway', () => {
  let api: ApiHarness;
  let gateway: TestGateway;
  let backend: Backend;
  let folder: string;
  let client: ControlClient;
  beforeEach(async () => {
    api = await startApi();
    folder = await mkdtemp(join(tmpdir(), 'muster-token-'));
    await writeFile(join(folder, 'token'), api.internalToken);
    backend = await startBackend(echo);
    gateway = await startTestGateway({}, [service('m', { ready: [backend.address] })]);
    client = new ControlClient(api.url, join(folder, 'token'));
    gateway.control.client = client;
  });
  afterEach(async () => {
    await gateway.close();
    await client.close();
    await backend.close();
    await api.close();
    await rm(folder, { recursive: true });
  });
  const openai = () =>
    new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'k', maxRetries: 0, timeout: 20_000 });
  const line = { custom_id: 'a', method: 'POST', url: '/v1/chat/completions', body: { model: 'm' } };

  test('the official client uploads, lists, reads, makes a batch and cancels it', async () => {
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
    const file = await openai().files.create({ file: await toFile(bytes, 'in.jsonl'), purpose: 'batch' });
    expect(file).toMatchObject({ object: 'file', bytes: bytes.length, filename: 'in.jsonl' });
    expect(await (await openai().files.content(file.id)).text()).toBe(bytes.toString());
    const listed: string[] = [];
    for await (const each of openai().files.list()) listed.push(each.id);
    expect(listed).toEqual([file.id]);
    const batch = await openai().batches.create({
      input_file_id: file.id,
      endpoint: '/v1/chat/completions',
      completion_window: '24h',
    });
    expect((await openai().batches.retrieve(batch.id)).status).toBe('validating');
    expect((await openai().batches.cancel(batch.id)).status).toBe('cancelling');
    expect((await openai().batches.list()).data.map(({ id }) => id)).toEqual([batch.id]);
    expect((await openai().files.delete(file.id)).deleted).toBe(true);
  });

  test('errors are the client’s own, with the request’s id', async () => {
    await expect(openai().files.retrieve('file-none')).rejects.toMatchObject({
      status: 404,
      message: expect.stringContaining('No such File object: file-none') as unknown,
    });
    const answer = await get(`${gateway.url}/v1/batches/batch_none`);
    expect(answer.status).toBe(404);
    expect(answer.headers.get('x-request-id')).toMatch(/./);
  });

  test('without a control API are 501, and with one that is gone 503; models are served all the same', async () => {
    await api.close();
    expect((await get(`${gateway.url}/v1/files`)).body).toMatchObject({
      error: { code: 'control_unavailable' },
    });
    gateway.control.client = null;
    expect((await get(`${gateway.url}/v1/files`)).status).toBe(501);
    expect((await postJson(`${gateway.url}/v1/chat/completions`, { model: 'm', messages: [] })).status).toBe(
      200,
    );
    api = await startApi();
  });

  test('a line of a batch comes in the name of whoever made the batch, and of nobody else', async () => {
    const { record } = newKey();
    const services = [service('m', { ready: [backend.address] })];
    useAccess(gateway, services, { keys: [record] });
    const caller = {
      id: record.id,
      kind: 'key',
      tenant: 't',
      tier: 'best-effort',
      namespace: null,
      scopes: ['*'],
      models: ['*'],
    };
    const headers = (token: string, who: unknown) => ({
      'x-muster-internal': token,
      'x-muster-caller': Buffer.from(JSON.stringify(who)).toString('base64'),
    });
    const body = { model: 'm', messages: [] };
    const url = `${gateway.url}/v1/chat/completions`;
    expect((await postJson(url, body, headers(api.internalToken, caller))).status).toBe(200);
    for (const bad of [headers('guess', caller), headers(api.internalToken, { id: 'k' })]) {
      expect((await postJson(url, body, bad)).body).toMatchObject({
        error: { code: 'invalid_internal_token' },
      });
    }
    const expired = { ...record, expiresAt: '2020-01-01T00:00:00Z' };
    for (const keys of [[], [expired]]) {
      useAccess(gateway, services, { keys });
      const refused = await postJson(url, body, headers(api.internalToken, caller));
      expect([refused.status, refused.body]).toMatchObject([401, { error: { code: 'invalid_api_key' } }]);
    }
    expect(backend.seen).toHaveLength(1);
    expect(Object.keys(backend.seen[0]?.headers ?? {}).filter((name) => name.startsWith('x-muster'))).toEqual(
      [],
    );
  });
});
