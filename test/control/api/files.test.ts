import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { ApiHarness } from '../../fixtures/control/api-harness.ts';
import {
  OpenaiFiles,
  batchOf,
  callerHeader,
  eventually,
  formOf,
} from '../../fixtures/control/openai-files.ts';

let openai: OpenaiFiles;
let api: ApiHarness;
beforeAll(async () => {
  openai = await OpenaiFiles.start();
  api = openai.api;
});
afterAll(async () => {
  await openai.close();
});
beforeEach(() => {
  openai.beginTest();
});

describe('files', () => {
  test('come back byte for byte, are listed, described and deleted', async () => {
    const bytes = Uint8Array.from({ length: 70_000 }, (_, at) => (at * 7) % 256);
    const id = await openai.upload(bytes, { purpose: 'user_data' });
    expect((await openai.ask('GET', `/files/${id}`)).body).toMatchObject({
      bytes: 70_000,
      filename: 'input.jsonl',
    });
    const response = await openai.fetch(`/files/${id}/content`);
    expect(Buffer.from(await response.arrayBuffer()).equals(Buffer.from(bytes))).toBe(true);
    expect((await openai.ask('GET', '/files?purpose=user_data')).body['data']).toHaveLength(1);
    expect((await openai.ask('GET', '/files?purpose=batch')).body['data']).toHaveLength(0);
    expect((await openai.ask('DELETE', `/files/${id}`)).body).toEqual({ id, object: 'file', deleted: true });
    expect((await openai.ask('GET', `/files/${id}/content`)).status).toBe(404);
  });

  test('of another tenant are not there', async () => {
    const id = await openai.upload('x');
    for (const [method, path] of [
      ['GET', `/files/${id}`],
      ['GET', `/files/${id}/content`],
      ['DELETE', `/files/${id}`],
    ] as const) {
      expect((await openai.ask(method, path, undefined, 'other')).status).toBe(404);
    }
    expect((await openai.ask('GET', '/files', undefined, 'other')).body['data']).toEqual([]);
    expect((await openai.ask('POST', '/batches', batchOf(id), 'other')).status).toBe(404);
  });

  test('of a key without a tenant are its own', async () => {
    const as = async (id: string) => {
      const headers = { 'x-muster-caller': callerHeader({ id, tenant: '' }) };
      const answer = (await (await openai.fetch('/files', { headers })).json()) as { data: unknown[] };
      return answer.data.length;
    };
    await api.store.batches.putFile({
      tenant: ' k7',
      file: {
        id: 'file-own',
        object: 'file',
        bytes: 1,
        created_at: 1,
        filename: 'a',
        purpose: 'batch',
        status: 'processed',
      },
    });
    expect([await as('k7'), await as('k8'), await as('')]).toEqual([1, 0, 0]);
  });

  test('are listed in pages', async () => {
    const ids: string[] = [];
    for (let at = 0; at < 5; at += 1) {
      api.clock.now += 1000;
      ids.push(await openai.upload(`${at}`));
    }
    const seen: string[] = [];
    for (let after = ''; ;) {
      const { body } = await openai.ask('GET', `/files?limit=2${after === '' ? '' : `&after=${after}`}`);
      seen.push(...(body['data'] as { id: string }[]).map(({ id }) => id));
      if (body['has_more'] !== true) break;
      after = String(body['last_id']);
    }
    expect(seen).toEqual([...ids].reverse());
  });

  test.each([
    ['without purpose', {}, 'x'],
    ['of a strange purpose', { purpose: 'evil' }, 'x'],
    ['without file', { purpose: 'batch' }, null],
  ] as const)('%s are refused in words of OpenAI, and leave nothing', async (_name, fields, content) => {
    const { status, body } = await openai.ask('POST', '/files', formOf(fields, content));
    expect([status, (body['error'] as { type: string }).type]).toEqual([400, 'invalid_request_error']);
    expect((await openai.ask('GET', '/files')).body['data']).toEqual([]);
  });

  test.each([
    ['without boundary', 'multipart/form-data', 'x'],
    [
      'that is cut',
      'multipart/form-data; boundary=b',
      '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx',
    ],
    ['that is no form', 'application/json', '{'],
  ])('in a form %s are refused in words of OpenAI, and leave nothing', async (_name, type, body) => {
    const headers = { 'content-type': type };
    const response = await openai.fetch('/files', { method: 'POST', headers, body });
    expect(response.status).toBe(400);
    expect(((await response.json()) as { error: { type: string } }).error.type).toBe('invalid_request_error');
    expect((await openai.ask('GET', '/files')).body['data']).toEqual([]);
  });

  test('of one owner may not take the room of all', async () => {
    const file = {
      id: 'file-huge',
      object: 'file' as const,
      bytes: 5 * 1024 ** 3,
      created_at: 1,
      filename: 'a',
      purpose: 'batch' as const,
      status: 'processed' as const,
    };
    await api.store.batches.putFile({ tenant: openai.tenant, file });
    const { status, body } = await openai.ask('POST', '/files', formOf({ purpose: 'batch' }, 'x'));
    expect([status, (body['error'] as { code: string }).code]).toEqual([507, 'disk_full']);
    await api.store.batches.removeFile('file-huge');
    await openai.upload('x');
  });

  test('cannot be asked for by a path', async () => {
    for (const id of ['..%2f..%2fetc%2fpasswd', 'file-..', 'file-x%00']) {
      expect((await openai.ask('GET', `/files/${id}`)).status).toBe(404);
    }
  });

  test('whose time is over are removed', async () => {
    const expiry = { 'expires_after[anchor]': 'created_at', 'expires_after[seconds]': '3600' };
    const id = await openai.upload('x', expiry);
    const status = async () => (await openai.ask('GET', `/files/${id}`)).status;
    const { body } = await openai.ask('GET', `/files/${id}`);
    expect(body['expires_at']).toBe(Math.floor(api.clock.now / 1000) + 3600);
    api.clock.now += 3_601_000;
    await api.restart();
    await eventually(async () => (await status()) === 404);
    expect(await status()).toBe(404);
  });
});
