import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI, { toFile } from 'openai';
import { lineAsker } from '../../../activities/batch/ask-line.ts';
import type { BatchLines } from '../../../domain/batch/batch.schema.ts';
import { ControlClient } from '../../../gateway/route-table/control-client.ts';
import { sign, startIssuer } from '../../fixtures/access/issuer.ts';
import type { TestIssuer } from '../../fixtures/access/issuer.ts';
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
    await expect(openai().files.delete(file.id)).rejects.toMatchObject({ status: 409 }); // its batch has not ended
    const other = await openai().files.create({ file: await toFile(bytes, 'b.jsonl'), purpose: 'batch' });
    expect((await openai().files.delete(other.id)).deleted).toBe(true);
  });

  test('a file that is larger than what a slow reader takes at once comes whole', async () => {
    const bytes = Buffer.alloc(8 * 1024 * 1024, `${JSON.stringify(line)}\n`);
    const file = await openai().files.create({ file: await toFile(bytes, 'in.jsonl'), purpose: 'batch' });
    const answer = await fetch(`${gateway.url}/v1/files/${file.id}/content`, {
      headers: { authorization: 'Bearer k' },
    });
    await sleep(200); // all buffers on the way are full by now
    expect(Buffer.from(await answer.arrayBuffer()).equals(bytes)).toBe(true);
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

  test('a batch without a key goes on in its error file once keys are required', async () => {
    const lines = ['a', 'b', 'c'].map((custom_id) => JSON.stringify({ ...line, custom_id }));
    const file = await openai().files.create({
      file: await toFile(Buffer.from(lines.join('\n')), 'in.jsonl'),
      purpose: 'batch',
    });
    const { id } = await openai().batches.create({
      input_file_id: file.id,
      endpoint: '/v1/chat/completions',
      completion_window: '24h',
    });
    await api.internal('POST', `/internal/batches/${id}/open`, {});
    const asker = lineAsker({ gatewayUrl: gateway.url, internalToken: () => client.currentToken() });
    const run = async (from: number, to: number) => {
      const { body } = await api.internal('GET', `/internal/batches/${id}/lines?from=0&to=3`);
      const batch = body as BatchLines;
      const { signal } = new AbortController();
      for (const each of batch.lines.slice(from, to)) {
        const result = await asker({ batchId: id, ...batch, ...each }, signal, () => undefined);
        await api.internal('POST', `/internal/batches/${id}/results`, { results: [result] });
      }
    };
    await run(0, 1);
    const { record } = newKey();
    useAccess(gateway, [service('m', { ready: [backend.address] })], { mode: 'required', keys: [record] });
    await run(0, 2);
    await asker.close();
    await api.internal('POST', `/internal/batches/${id}/close`, { outcome: 'completed' });
    useAccess(gateway, [service('m', { ready: [backend.address] })], {}); // its maker can read it again
    const ended = await openai().batches.retrieve(id);
    expect(ended).toMatchObject({ status: 'completed', request_counts: { completed: 1, failed: 2 } });
    const text = await (await openai().files.content(ended.error_file_id ?? '')).text();
    const told = text
      .trim()
      .split('\n')
      .map((each) => JSON.parse(each) as unknown);
    const error = { code: 'invalid_api_key' };
    expect(told).toMatchObject([
      { custom_id: 'b', response: { status_code: 401, body: { error } } },
      { custom_id: 'c', response: { status_code: 401, body: { error } } },
    ]);
    expect(backend.seen).toHaveLength(1);
  });

  describe('of who may ask as many models as one may list', () => {
    let issuer: TestIssuer;
    beforeEach(async () => {
      issuer = await startIssuer();
    });
    afterEach(() => issuer.close());
    const models = [
      'default/m',
      ...Array.from({ length: 255 }, (_, at) => `default/${'x'.repeat(480)}${at}`),
    ];
    const as = (apiKey: string) => new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey, maxRetries: 0 });
    const upload = async (apiKey: string) =>
      await as(apiKey).files.create({
        file: await toFile(Buffer.from(JSON.stringify(line)), 'in.jsonl'),
        purpose: 'batch',
      });
    const makeBatch = async (apiKey: string) =>
      await as(apiKey).batches.create({
        input_file_id: (await upload(apiKey)).id,
        endpoint: '/v1/chat/completions',
        completion_window: '24h',
      });

    test('a key has files and batches as any other, whose lines ask what it may', async () => {
      const { key, record } = newKey({ models });
      useAccess(gateway, [service('m', { ready: [backend.address] })], { mode: 'required', keys: [record] });
      const batch = await makeBatch(key);
      expect((await as(key).files.list()).data).toHaveLength(1);
      expect((await as(key).batches.list()).data.map(({ id }) => id)).toEqual([batch.id]);
      expect((await ask('m', batch.id)).status).toBe(200);
      useAccess(gateway, [service('m', { ready: [backend.address] })], {
        ...{ mode: 'required', keys: [{ ...record, models: models.slice(1) }] },
      });
      expect((await ask('m', batch.id)).status).toBe(403);
    });

    test('a token has files, and batches where its models can be kept with them', async () => {
      const signer = await issuer.rotate();
      const trust = (listed: string[]) => {
        const { url, jwksUri } = issuer;
        const issuers = [{ name: 'idp', issuer: url, jwksUri, audiences: ['muster'], models: listed }];
        useAccess(gateway, [service('m', { ready: [backend.address] })], { mode: 'required', issuers });
      };
      const token = await sign(signer, issuer.url);
      trust(models);
      expect((await upload(token)).object).toBe('file');
      await expect(makeBatch(token)).rejects.toMatchObject({ status: 400, code: 'invalid_request' });
      for (const [listed, status] of [
        [['default/*'], 200],
        [['team/*'], 403],
      ] as const) {
        trust([...listed]);
        expect((await ask('m', (await makeBatch(token)).id)).status).toBe(status);
      }
    });

    /** The first line of a batch, in the name that the control API keeps. */
    const ask = async (model: string, batchId: string) => {
      await api.internal('POST', `/internal/batches/${batchId}/open`, {});
      const { body } = await api.internal('GET', `/internal/batches/${batchId}/lines?from=0&to=1`);
      const { caller } = body as BatchLines;
      return await postJson(
        `${gateway.url}/v1/chat/completions`,
        { model, messages: [] },
        {
          'x-muster-internal': api.internalToken,
          'x-muster-caller': Buffer.from(JSON.stringify(caller)).toString('base64'),
        },
      );
    };
  });

  describe('a line of a batch', () => {
    const body = { model: 'm', messages: [] };
    const services = () => [service('m', { ready: [backend.address] })];
    const stored = { tenant: 't', tier: 'best-effort', namespace: null, scopes: ['*'], models: ['*'] };
    const ask = (token: string, who: unknown) =>
      postJson(`${gateway.url}/v1/chat/completions`, body, {
        'x-muster-internal': token,
        'x-muster-caller': Buffer.from(JSON.stringify(who)).toString('base64'),
      });
    const line = async (who: object) => {
      const { status, body: answer } = await ask(api.internalToken, { ...stored, ...who });
      const { error } = answer as { error?: { code: string } };
      return [status, error?.code];
    };
    const gone = [401, 'invalid_api_key'];
    const forbidden = [403, 'permission_denied'];

    test('comes in the name of whoever made the batch, and of nobody else', async () => {
      const { record } = newKey();
      useAccess(gateway, services(), { keys: [record] });
      expect(await line({ id: record.id, kind: 'key' })).toEqual([200, undefined]);
      const caller = { ...stored, id: record.id, kind: 'key' };
      for (const bad of [await ask('guess', caller), await ask(api.internalToken, { id: 'k' })])
        expect(bad.body).toMatchObject({ error: { code: 'invalid_internal_token' } });
      expect(backend.seen).toHaveLength(1);
      const told = Object.keys(backend.seen[0]?.headers ?? {});
      expect(told.filter((name) => name.startsWith('x-muster'))).toEqual([]);
    });

    test('may do what its maker’s key may now, not what it might when the batch was made', async () => {
      const { record } = newKey();
      const now = async (change: object) => {
        useAccess(gateway, services(), { keys: [{ ...record, ...change }] });
        return await line({ id: record.id, kind: 'key' });
      };
      expect(await now({ models: ['default/other'] })).toEqual(forbidden);
      expect(await now({ scopes: ['metrics'] })).toEqual(forbidden);
      expect(await now({ expiresAt: '2020-01-01T00:00:00Z' })).toEqual(gone);
      expect(await now({ id: 'another' })).toEqual(gone);
      expect(await now({})).toEqual([200, undefined]);
    });

    test('of a batch that nobody signed is refused as any such request once keys are required', async () => {
      const now = async (mode: 'open' | 'required') => {
        useAccess(gateway, services(), { mode, keys: [newKey().record] });
        return await line({ id: '', kind: 'anonymous', tenant: '' });
      };
      expect(await now('open')).toEqual([200, undefined]);
      expect(await now('required')).toEqual(gone);
      const { body: refused } = await postJson(`${gateway.url}/v1/chat/completions`, body);
      const { body: answer } = await ask(api.internalToken, { ...stored, id: '', kind: 'anonymous' });
      expect(answer).toEqual(refused);
      expect(await now('open')).toEqual([200, undefined]);
    });

    test('may do what the rule of its maker’s certificate says now', async () => {
      const rule = { name: 'ci', commonName: 'ci.example' };
      const now = async (certificates: object[]) => {
        useAccess(gateway, services(), { certificates: certificates as (typeof rule)[] });
        return await line({ id: 'ci', kind: 'certificate' });
      };
      expect(await now([rule])).toEqual([200, undefined]);
      expect(await now([{ ...rule, models: [] }])).toEqual(forbidden);
      expect(await now([])).toEqual(gone);
    });
  });
});
