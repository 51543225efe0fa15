import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { MusterError } from '../../../domain/errors.ts';
import { startApi } from '../../fixtures/control/api-harness.ts';
import type { ApiHarness } from '../../fixtures/control/api-harness.ts';

const caller = (tenant: string) =>
  Buffer.from(
    JSON.stringify({
      id: 'k1',
      kind: 'key',
      tenant,
      tier: 'standard',
      namespace: null,
      scopes: ['infer'],
      models: ['*'],
    }),
  ).toString('base64');

interface Read {
  readonly status: number;
  readonly body: Record<string, unknown>;
  readonly text: string;
}

let api: ApiHarness;
let tests = 0;
/** Each test has its own, so that they share one API. */
let tenant = '';
beforeAll(async () => {
  api = await startApi();
});
afterAll(async () => {
  await api.close();
});
beforeEach(() => {
  tenant = `acme-${(tests += 1)}`;
  api.lifecycle.failure = null;
  api.lifecycle.calls.length = 0;
});

async function ask(method: string, path: string, body?: unknown, as = tenant): Promise<Read> {
  const isForm = body instanceof FormData;
  const response = await fetch(`${api.url}/internal/openai/v1${path}`, {
    method,
    headers: {
      authorization: `Bearer ${api.internalToken}`,
      'x-muster-caller': caller(as),
      ...(body === undefined || isForm ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: isForm ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  let read: Record<string, unknown> = {};
  try {
    read = JSON.parse(text) as Record<string, unknown>;
  } catch {
    // the bytes of a file
  }
  return { status: response.status, body: read, text };
}

async function upload(content: string | Uint8Array<ArrayBuffer>, purpose = 'batch'): Promise<string> {
  const form = new FormData();
  form.set('purpose', purpose);
  form.set('file', new Blob([content]), 'input.jsonl');
  const { status, body } = await ask('POST', '/files', form);
  expect(status).toBe(200);
  return String(body['id']);
}

const line = (id: string, body: Record<string, unknown> = { model: 'm' }) =>
  JSON.stringify({ custom_id: id, method: 'POST', url: '/v1/chat/completions', body });
const request = (input: string) => ({
  input_file_id: input,
  endpoint: '/v1/chat/completions',
  completion_window: '24h',
});
const create = async (content: string): Promise<string> => {
  const { status, body } = await ask('POST', '/batches', request(await upload(content)));
  expect(status).toBe(200);
  return String(body['id']);
};
const internal = async (id: string, what: string, body?: unknown) => {
  const answer = await api.internal(
    body === undefined ? 'GET' : 'POST',
    `/internal/batches/${id}/${what}`,
    body,
  );
  expect([what, answer.status, answer.body]).toEqual([what, 200, answer.body]);
  return answer.body as Record<string, unknown>;
};

describe('files', () => {
  test('come back byte for byte, are listed, described and deleted', async () => {
    const bytes = Uint8Array.from({ length: 70_000 }, (_, at) => (at * 7) % 256);
    const id = await upload(bytes, 'user_data');
    expect((await ask('GET', `/files/${id}`)).body).toMatchObject({ bytes: 70_000, filename: 'input.jsonl' });
    const response = await fetch(`${api.url}/internal/openai/v1/files/${id}/content`, {
      headers: { authorization: `Bearer ${api.internalToken}`, 'x-muster-caller': caller(tenant) },
    });
    expect(Buffer.from(await response.arrayBuffer()).equals(Buffer.from(bytes))).toBe(true);
    expect((await ask('GET', '/files?purpose=user_data')).body['data']).toHaveLength(1);
    expect((await ask('GET', '/files?purpose=batch')).body['data']).toHaveLength(0);
    expect((await ask('DELETE', `/files/${id}`)).body).toEqual({ id, object: 'file', deleted: true });
    expect((await ask('GET', `/files/${id}/content`)).status).toBe(404);
  });

  test('of another tenant are not there', async () => {
    const id = await upload('x');
    for (const [method, path] of [
      ['GET', `/files/${id}`],
      ['GET', `/files/${id}/content`],
      ['DELETE', `/files/${id}`],
    ] as const) {
      expect((await ask(method, path, undefined, 'other')).status).toBe(404);
    }
    expect((await ask('GET', '/files', undefined, 'other')).body['data']).toEqual([]);
    expect((await ask('POST', '/batches', request(id), 'other')).status).toBe(404);
  });

  test('of a key without a tenant are its own', async () => {
    const as = (id: string) =>
      fetch(`${api.url}/internal/openai/v1/files`, {
        headers: {
          authorization: `Bearer ${api.internalToken}`,
          'x-muster-caller': Buffer.from(
            JSON.stringify({
              id,
              kind: 'key',
              tenant: '',
              tier: 'standard',
              namespace: null,
              scopes: [],
              models: [],
            }),
          ).toString('base64'),
        },
      }).then(async (answer) => ((await answer.json()) as { data: unknown[] }).data.length);
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
      ids.push(await upload(`${at}`));
    }
    const seen: string[] = [];
    for (let after = ''; ;) {
      const { body } = await ask('GET', `/files?limit=2${after === '' ? '' : `&after=${after}`}`);
      seen.push(...(body['data'] as { id: string }[]).map(({ id }) => id));
      if (body['has_more'] !== true) break;
      after = String(body['last_id']);
    }
    expect(seen).toEqual([...ids].reverse());
  });

  test.each([
    ['without purpose', (form: FormData) => form.set('file', new Blob(['x']), 'a')],
    [
      'of a strange purpose',
      (form: FormData) => {
        form.set('purpose', 'evil');
        form.set('file', new Blob(['x']), 'a');
      },
    ],
    ['without file', (form: FormData) => form.set('purpose', 'batch')],
  ])('%s are refused in words of OpenAI, and leave nothing', async (_name, fill) => {
    const form = new FormData();
    fill(form);
    const { status, body } = await ask('POST', '/files', form);
    expect([status, (body['error'] as { type: string }).type]).toEqual([400, 'invalid_request_error']);
    expect((await ask('GET', '/files')).body['data']).toEqual([]);
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
    const response = await fetch(`${api.url}/internal/openai/v1/files`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${api.internalToken}`,
        'x-muster-caller': caller(tenant),
        'content-type': type,
      },
      body,
    });
    expect(response.status).toBe(400);
    expect(((await response.json()) as { error: { type: string } }).error.type).toBe('invalid_request_error');
    expect((await ask('GET', '/files')).body['data']).toEqual([]);
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
    await api.store.batches.putFile({ tenant, file });
    const form = new FormData();
    form.set('purpose', 'batch');
    form.set('file', new Blob(['x']), 'a');
    const { status, body } = await ask('POST', '/files', form);
    expect([status, (body['error'] as { code: string }).code]).toEqual([507, 'disk_full']);
    await api.store.batches.removeFile('file-huge');
    await upload('x');
  });

  test('cannot be asked for by a path', async () => {
    for (const id of ['..%2f..%2fetc%2fpasswd', 'file-..', 'file-x%00']) {
      expect((await ask('GET', `/files/${id}`)).status).toBe(404);
    }
  });

  test('whose time is over are removed', async () => {
    const form = new FormData();
    form.set('purpose', 'batch');
    form.set('expires_after[anchor]', 'created_at');
    form.set('expires_after[seconds]', '3600');
    form.set('file', new Blob(['x']), 'a');
    const { body } = await ask('POST', '/files', form);
    expect(body['expires_at']).toBe(Math.floor(api.clock.now / 1000) + 3600);
    api.clock.now += 3_601_000;
    await api.restart();
    for (
      let left = 100;
      left > 0 && (await ask('GET', `/files/${String(body['id'])}`)).status !== 404;
      left -= 1
    )
      await new Promise((resolve) => setTimeout(resolve, 20));
    expect((await ask('GET', `/files/${String(body['id'])}`)).status).toBe(404);
  });
});

describe('a batch', () => {
  test('from its input to its files, each line once, whatever is repeated', async () => {
    // CRLF, a separator that is no line end, and a last line without an end.
    const content = [line('a'), line('b\u2028', { model: 'm', n: 1.5 }), line('c')].join('\r\n');
    const id = await create(content);
    expect(api.lifecycle.calls).toContain(`startBatch ${id}`);
    expect((await ask('GET', `/batches/${id}`)).body['status']).toBe('validating');
    for (let times = 0; times < 2; times += 1)
      expect(await internal(id, 'open', {})).toMatchObject({ isValid: true, total: 3 });
    expect((await ask('GET', `/batches/${id}`)).body['status']).toBe('in_progress');
    const lines = await internal(id, 'lines?from=0&to=3');
    expect(lines).toMatchObject({
      endpoint: '/v1/chat/completions',
      caller: { tenant },
      lines: [
        { line: 0, customId: 'a' },
        { line: 1, customId: 'b\u2028', body: '{"model":"m","n":1.5}' },
        { line: 2, customId: 'c' },
      ],
    });
    await internal(id, 'results', {
      results: [{ line: 1, ok: true, text: '{"custom_id":"b","first":true}' }],
    });
    await internal(id, 'results', {
      results: [{ line: 1, ok: false, text: '{"custom_id":"b","first":false}' }],
    });
    await internal(id, 'results', { results: [{ line: 0, ok: false, text: '{"custom_id":"a"}' }] });
    expect((await internal(id, 'lines?from=0&to=3'))['lines']).toMatchObject([{ line: 2 }]);
    expect((await ask('GET', `/batches/${id}`)).body['request_counts']).toEqual({
      total: 3,
      completed: 1,
      failed: 1,
    });
    await internal(id, 'results', { results: [{ line: 2, ok: true, text: '{"custom_id":"c"}' }] });
    for (let times = 0; times < 2; times += 1) await internal(id, 'close', { outcome: 'completed' });

    const { body: batch } = await ask('GET', `/batches/${id}`);
    expect(batch).toMatchObject({
      status: 'completed',
      request_counts: { total: 3, completed: 2, failed: 1 },
    });
    expect((await ask('GET', `/files/${String(batch['output_file_id'])}/content`)).text).toBe(
      '{"custom_id":"b","first":true}\n{"custom_id":"c"}\n',
    );
    expect((await ask('GET', `/files/${String(batch['error_file_id'])}/content`)).text).toBe(
      '{"custom_id":"a"}\n',
    );
    await internal(id, 'results', { results: [{ line: 0, ok: true, text: 'late' }] });
    expect((await ask('GET', `/batches/${id}`)).body).toEqual(batch);
  });

  test('with wrong lines fails before any is asked, and names them', async () => {
    const id = await create(`${line('a')}\n{\n${line('a')}\n`);
    expect(await internal(id, 'open', {})).toMatchObject({ isValid: false });
    expect(await internal(id, 'open', {})).toMatchObject({ isValid: false });
    expect((await ask('GET', `/batches/${id}`)).body).toMatchObject({
      status: 'failed',
      errors: {
        data: [
          { code: 'invalid_json_line', line: 2 },
          { code: 'duplicate_custom_id', line: 3 },
        ],
      },
    });
  });

  test('without lines fails', async () => {
    const id = await create('');
    await internal(id, 'open', {});
    expect((await ask('GET', `/batches/${id}`)).body).toMatchObject({
      errors: { data: [{ code: 'empty_file' }] },
    });
  });

  test('of more lines than an index step reads each of them', async () => {
    const ids = Array.from({ length: 250 }, (_, at) => `id-${at}-${'é'.repeat(at % 7)}`);
    const id = await create(ids.map((each) => `${line(each)}\n`).join(''));
    await internal(id, 'open', {});
    const seen: string[] = [];
    for (let from = 0; from < 250; from += 100) {
      const { lines } = await internal(id, `lines?from=${from}&to=${Math.min(250, from + 100)}`);
      seen.push(...(lines as { customId: string }[]).map(({ customId }) => customId));
    }
    expect(seen).toEqual(ids);
  });

  test('of long lines is handed out in parts that fit', async () => {
    const long = { model: 'm', input: 'x'.repeat(1_500_000) };
    const id = await create(['a', 'b', 'c', 'd'].map((each) => line(each, long)).join('\n'));
    await internal(id, 'open', {});
    const seen: string[] = [];
    for (;;) {
      const { lines } = await internal(id, 'lines?from=0&to=4');
      const part = lines as { line: number; customId: string }[];
      if (part.length === 0) break;
      expect(part.length).toBeLessThan(4);
      seen.push(...part.map(({ customId }) => customId));
      const results = part.map((each) => ({ line: each.line, ok: true, text: '{}' }));
      await internal(id, 'results', { results });
    }
    expect(seen).toEqual(['a', 'b', 'c', 'd']);
  });

  test.each([
    ['expired', 'batch_expired'],
    ['cancelled', 'batch_cancelled'],
  ])('that is %s keeps what was answered, and says of the others why not', async (outcome, code) => {
    const id = await create([line('a'), line('b')].join('\n'));
    await internal(id, 'open', {});
    await internal(id, 'results', { results: [{ line: 0, ok: true, text: '{"custom_id":"a"}' }] });
    await internal(id, 'close', { outcome });
    const { body } = await ask('GET', `/batches/${id}`);
    expect(body['status']).toBe(outcome);
    expect((await ask('GET', `/files/${String(body['output_file_id'])}/content`)).text).toBe(
      '{"custom_id":"a"}\n',
    );
    expect((await ask('GET', `/files/${String(body['error_file_id'])}/content`)).body).toMatchObject({
      custom_id: 'b',
      error: { code },
    });
  });

  test('is cancelled once, and not after its end', async () => {
    const id = await create(line('a'));
    await internal(id, 'open', {});
    expect((await ask('POST', `/batches/${id}/cancel`, {})).body['status']).toBe('cancelling');
    expect(api.lifecycle.calls).toContain(`cancelBatch ${id}`);
    await internal(id, 'close', { outcome: 'cancelled' });
    expect((await ask('POST', `/batches/${id}/cancel`, {})).status).toBe(409);
  });

  test('that Temporal cannot take is not there at all', async () => {
    const input = await upload(line('a'));
    api.lifecycle.failure = new MusterError('temporal_unavailable', 'Temporal is away.');
    const { status, body } = await ask('POST', '/batches', request(input));
    expect([status, body['error']]).toMatchObject([503, { message: 'Temporal is away.' }]);
    expect((await ask('GET', '/batches')).body['data']).toEqual([]);
  });

  test('that was stored and not started is started after a restart', async () => {
    const id = await create(line('a'));
    api.lifecycle.calls.length = 0;
    await api.restart();
    for (let left = 100; left > 0 && api.lifecycle.calls.length === 0; left -= 1)
      await new Promise((resolve) => setTimeout(resolve, 20));
    expect(api.lifecycle.calls).toContain(`startBatch ${id}`);
  });

  test.each([
    [{ endpoint: '/v1/files' }, 'endpoint'],
    [{ completion_window: 'soon' }, 'completion_window'],
    [{ input_file_id: 3 }, 'input_file_id'],
  ])('with %j is refused by the field', async (more, param) => {
    const { status, body } = await ask('POST', '/batches', { ...request(await upload(line('a'))), ...more });
    expect([status, (body['error'] as { param: string }).param]).toEqual([400, param]);
  });

  test('needs the internal token', async () => {
    const response = await fetch(`${api.url}/internal/openai/v1/batches`, {
      headers: { authorization: `Bearer ${api.token}`, 'x-muster-caller': caller(tenant) },
    });
    expect(response.status).toBe(401);
  });
});
