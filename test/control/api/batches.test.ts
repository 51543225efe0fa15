import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { MusterError } from '../../../domain/errors.ts';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ApiHarness } from '../../fixtures/control/api-harness.ts';
import { OpenaiFiles, batchOf, eventually } from '../../fixtures/control/openai-files.ts';

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

const line = (id: string, body: Record<string, unknown> = { model: 'm' }) =>
  JSON.stringify({ custom_id: id, method: 'POST', url: '/v1/chat/completions', body });
const create = async (content: string): Promise<string> => {
  const { status, body } = await openai.ask('POST', '/batches', batchOf(await openai.upload(content)));
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

describe('a batch', () => {
  test('from its input to its files, each line once, whatever is repeated', async () => {
    // CRLF, a separator that is no line end, and a last line without an end.
    const content = [line('a'), line('b\u2028', { model: 'm', n: 1.5 }), line('c')].join('\r\n');
    const id = await create(content);
    expect(api.lifecycle.calls).toContain(`startBatch ${id}`);
    expect((await openai.ask('GET', `/batches/${id}`)).body['status']).toBe('validating');
    for (let times = 0; times < 2; times += 1)
      expect(await internal(id, 'open', {})).toMatchObject({ isValid: true, total: 3 });
    expect((await openai.ask('GET', `/batches/${id}`)).body['status']).toBe('in_progress');
    const lines = await internal(id, 'lines?from=0&to=3');
    expect(lines).toMatchObject({
      endpoint: '/v1/chat/completions',
      caller: { tenant: openai.tenant },
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
    expect((await openai.ask('GET', `/batches/${id}`)).body['request_counts']).toEqual({
      total: 3,
      completed: 1,
      failed: 1,
    });
    await internal(id, 'results', { results: [{ line: 2, ok: true, text: '{"custom_id":"c"}' }] });
    for (let times = 0; times < 2; times += 1) await internal(id, 'close', { outcome: 'completed' });

    const { body: batch } = await openai.ask('GET', `/batches/${id}`);
    expect(batch).toMatchObject({
      status: 'completed',
      request_counts: { total: 3, completed: 2, failed: 1 },
    });
    expect((await openai.contentOf(batch['output_file_id'])).text).toBe(
      '{"custom_id":"b","first":true}\n{"custom_id":"c"}\n',
    );
    expect((await openai.contentOf(batch['error_file_id'])).text).toBe('{"custom_id":"a"}\n');
    await internal(id, 'results', { results: [{ line: 0, ok: true, text: 'late' }] });
    expect((await openai.ask('GET', `/batches/${id}`)).body).toEqual(batch);
  });

  test('with wrong lines fails before any is asked, and names them', async () => {
    const id = await create(`${line('a')}\n{\n${line('a')}\n`);
    expect(await internal(id, 'open', {})).toMatchObject({ isValid: false });
    expect(await internal(id, 'open', {})).toMatchObject({ isValid: false });
    expect((await openai.ask('GET', `/batches/${id}`)).body).toMatchObject({
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
    expect((await openai.ask('GET', `/batches/${id}`)).body).toMatchObject({
      errors: { data: [{ code: 'empty_file' }] },
    });
  });

  test('keeps its input until it has ended, whoever deletes it and whenever its time is over', async () => {
    const input = await openai.upload(line('a'), { 'expires_after[seconds]': '3600' });
    const { body } = await openai.ask('POST', '/batches', batchOf(input));
    const id = String(body['id']);
    await internal(id, 'open', {});
    expect(await openai.ask('DELETE', `/files/${input}`)).toMatchObject({
      status: 409,
      body: { error: { message: expect.stringContaining(id) as unknown } },
    });
    api.clock.now += 3_601_000;
    expect(await api.store.batches.filesExpiredAt(api.clock.now / 1000)).not.toContain(input);
    expect((await openai.contentOf(input)).text).toBe(line('a'));
    await internal(id, 'close', { outcome: 'expired' });
    expect(await api.store.batches.filesExpiredAt(api.clock.now / 1000)).toContain(input);
    expect((await openai.ask('DELETE', `/files/${input}`)).status).toBe(200);
  });

  test.each(['\0', '\ud800'])(
    'may be described in any words, %j too: files are kept and removed as ever',
    async (x) => {
      const input = await openai.upload(line('a'));
      const batch = { ...(batchOf(input) as object), metadata: { x } };
      expect((await openai.ask('POST', '/batches', batch)).status).toBe(200);
      const other = await openai.upload(line('b'));
      expect((await openai.ask('DELETE', `/files/${other}`)).status).toBe(200);
      expect((await openai.ask('DELETE', `/files/${input}`)).status).toBe(409);
      expect(await api.store.batches.filesExpiredAt(api.clock.now / 1000)).not.toContain(input);
    },
  );

  test('whose input is lost fails, and says so', async () => {
    const input = await openai.upload(line('a'));
    const { body } = await openai.ask('POST', '/batches', batchOf(input));
    const id = String(body['id']);
    rmSync(join(api.filesFolder, input));
    expect(await internal(id, 'open', {})).toMatchObject({ isValid: false });
    expect((await openai.ask('GET', `/batches/${id}`)).body).toMatchObject({
      status: 'failed',
      errors: { data: [{ code: 'input_file_not_found' }] },
    });
  });

  test('whose input is lost on the way fails, and keeps what was answered', async () => {
    const input = await openai.upload([line('a'), line('b'), line('c')].join('\n'));
    const id = String((await openai.ask('POST', '/batches', batchOf(input))).body['id']);
    await internal(id, 'open', {});
    const results = [
      { line: 0, ok: true, text: '{"custom_id":"a"}' },
      { line: 1, ok: false, text: '{"custom_id":"b"}' },
    ];
    await internal(id, 'results', { results });
    rmSync(join(api.filesFolder, input));
    expect((await internal(id, 'lines?from=0&to=3'))['lines']).toEqual([]);
    await internal(id, 'close', { outcome: 'completed' });
    const { body } = await openai.ask('GET', `/batches/${id}`);
    expect(body).toMatchObject({
      status: 'failed',
      request_counts: { total: 3, completed: 1, failed: 1 },
      errors: { data: [{ code: 'input_file_not_found' }] },
    });
    expect((await openai.contentOf(body['output_file_id'])).text).toBe('{"custom_id":"a"}\n');
    expect((await openai.contentOf(body['error_file_id'])).text).toBe('{"custom_id":"b"}\n');
  });

  test('that has ended hands out no lines: what still runs for it ends, too', async () => {
    const id = await create(line('a'));
    await internal(id, 'open', {});
    expect((await internal(id, 'lines?from=0&to=1'))['lines']).toHaveLength(1);
    await internal(id, 'close', { outcome: 'cancelled' });
    expect((await internal(id, 'lines?from=0&to=1'))['lines']).toEqual([]);
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

  test('is looked through and closed once, also when it is asked to again before it is done', async () => {
    const ids = Array.from({ length: 300 }, (_, at) => `id-${at}`);
    const id = await create(ids.map((each) => `${line(each)}\n`).join(''));
    const plans = await Promise.all([1, 2, 3].map(() => internal(id, 'open', {})));
    expect(plans).toEqual(Array(3).fill(expect.objectContaining({ isValid: true, total: 300 })));
    const results = ids.map((each, at) => ({ line: at, ok: true, text: JSON.stringify(each) }));
    for (let from = 0; from < 300; from += 100)
      await internal(id, 'results', { results: results.slice(from, from + 100) });
    await Promise.all([1, 2, 3].map(() => internal(id, 'close', { outcome: 'completed' })));
    const { body } = await openai.ask('GET', `/batches/${id}`);
    const { text } = await openai.contentOf(body['output_file_id']);
    expect(text).toBe(results.map((result) => `${result.text}\n`).join(''));
    expect(body['request_counts']).toEqual({ total: 300, completed: 300, failed: 0 });
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
    const { body } = await openai.ask('GET', `/batches/${id}`);
    expect(body['status']).toBe(outcome);
    expect((await openai.contentOf(body['output_file_id'])).text).toBe('{"custom_id":"a"}\n');
    expect((await openai.contentOf(body['error_file_id'])).body).toMatchObject({
      custom_id: 'b',
      error: { code },
    });
  });

  test('is cancelled once, and not after its end', async () => {
    const id = await create(line('a'));
    await internal(id, 'open', {});
    expect((await openai.ask('POST', `/batches/${id}/cancel`, {})).body['status']).toBe('cancelling');
    expect(api.lifecycle.calls).toContain(`cancelBatch ${id}`);
    await internal(id, 'close', { outcome: 'cancelled' });
    expect((await openai.ask('POST', `/batches/${id}/cancel`, {})).status).toBe(409);
  });

  test('whose workflow was terminated ends when it is cancelled', async () => {
    const id = await create([line('a'), line('b')].join('\n'));
    await internal(id, 'open', {});
    await internal(id, 'results', { results: [{ line: 0, ok: true, text: '{"custom_id":"a"}' }] });
    api.lifecycle.failure = new MusterError('not_found', 'The service has no workflow.');
    const { status, body } = await openai.ask('POST', `/batches/${id}/cancel`, {});
    expect([status, body]).toMatchObject([
      200,
      { status: 'cancelled', request_counts: { total: 2, completed: 1, failed: 0 } },
    ]);
    expect((await openai.contentOf(body['output_file_id'])).text).toBe('{"custom_id":"a"}\n');
    expect((await openai.contentOf(body['error_file_id'])).body).toMatchObject({ custom_id: 'b' });
  });

  test('that ended before it was looked through is not begun', async () => {
    const id = await create(line('a'));
    await internal(id, 'close', { outcome: 'cancelled' });
    expect(await internal(id, 'open', {})).toMatchObject({ isValid: false });
    expect((await openai.ask('GET', `/batches/${id}`)).body['status']).toBe('cancelled');
  });

  test('that Temporal cannot take is not there at all', async () => {
    const input = await openai.upload(line('a'));
    api.lifecycle.failure = new MusterError('temporal_unavailable', 'Temporal is away.');
    const { status, body } = await openai.ask('POST', '/batches', batchOf(input));
    expect([status, body['error']]).toMatchObject([503, { message: 'Temporal is away.' }]);
    expect((await openai.ask('GET', '/batches')).body['data']).toEqual([]);
  });

  test('that was stored and not started is started after a restart', async () => {
    const id = await create(line('a'));
    api.lifecycle.calls.length = 0;
    await api.restart();
    await eventually(() => api.lifecycle.calls.length > 0);
    expect(api.lifecycle.calls).toContain(`startBatch ${id}`);
  });

  test.each([
    [{ endpoint: '/v1/files' }, 'endpoint'],
    [{ completion_window: 'soon' }, 'completion_window'],
    [{ completion_window: '8d' }, 'completion_window'],
    [{ input_file_id: 3 }, 'input_file_id'],
  ])('with %j is refused by the field', async (more, param) => {
    const { status, body } = await openai.ask('POST', '/batches', {
      ...batchOf(await openai.upload(line('a'))),
      ...more,
    });
    expect([status, (body['error'] as { param: string }).param]).toEqual([400, param]);
  });

  test('needs the internal token', async () => {
    const response = await openai.fetch('/batches', { headers: { authorization: `Bearer ${api.token}` } });
    expect(response.status).toBe(401);
  });
});
