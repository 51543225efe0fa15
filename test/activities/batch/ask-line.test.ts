import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { ServerResponse } from 'node:http';
import { lineAsker } from '../../../activities/batch/ask-line.ts';
import type { AskedLine } from '../../../activities/batch/ask-line.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';

type Answer = readonly [status: number, body?: string, headers?: Record<string, string>];

const refusal = (code: string) => JSON.stringify({ error: { message: 'a prompt of somebody', code } });
const line: AskedLine = {
  ...{ batchId: 'batch_7', line: 3, customId: 'c', body: '{"model":"m"}', endpoint: '/v1/chat/completions' },
  caller: {
    ...{ id: 'k1', kind: 'key', tenant: 'acme', tier: 'high', namespace: null, scopes: ['infer'] },
    models: ['*'],
  },
};

describe('a line of a batch', () => {
  let gateway: Backend;
  let answers: Answer[];
  let asker: ReturnType<typeof lineAsker>;
  let waits: string[];
  beforeEach(async () => {
    [answers, waits] = [[], []];
    gateway = await startBackend((_seen, response) => {
      send(response, answers.shift() ?? [200, '{"ok":true}']);
    });
    const internalToken = () => Promise.resolve('t');
    asker = lineAsker({ gatewayUrl: gateway.address, internalToken, pauseMsMax: 1, answerBytesMax: 1_000 });
  });
  afterEach(async () => {
    await asker.close();
    await gateway.close();
  });
  const ask = async (signal = new AbortController().signal) => {
    const { ok, text } = await asker(line, signal, (why) => waits.push(why));
    const { response } = JSON.parse(text) as { response: { status_code: number; body: unknown } };
    return { ok, status: response.status_code, body: response.body };
  };

  test('is asked once, in the name of its caller, as best-effort work', async () => {
    expect(await ask()).toEqual({ ok: true, status: 200, body: { ok: true } });
    const [seen] = gateway.seen;
    expect([seen?.url, seen?.body.toString(), gateway.seen.length]).toEqual([line.endpoint, line.body, 1]);
    const caller = Buffer.from(String(seen?.headers['x-muster-caller']), 'base64').toString();
    expect(JSON.parse(caller)).toMatchObject({ id: 'k1', tenant: 'acme', tier: 'best-effort' });
  });

  test('waits out answers that say "not now", however many, and says for what without what they say', async () => {
    answers = [
      [503, refusal('model_not_ready'), { 'retry-after': '2' }],
      [429, refusal('rate_limit_exceeded')],
      [429, refusal('insufficient_quota'), { 'retry-after': '3600' }],
      [503, 'a prompt of somebody'],
      [503, refusal('Not One Word')],
    ];
    expect(await ask()).toMatchObject({ ok: true });
    expect(waits).toEqual([
      '503 model_not_ready',
      '429 rate_limit_exceeded',
      '429 insufficient_quota',
      '503',
      '503',
    ]);
  });

  test('of a budget that never begins anew is not waited for', async () => {
    answers = [[429, refusal('insufficient_quota')]];
    expect(await ask()).toMatchObject({ ok: false, status: 429 });
    expect(gateway.seen).toHaveLength(1);
  });

  test('is tried again a few times after faults of servers', async () => {
    answers = [[502], [503], [500], [504], [502]];
    expect(await ask()).toMatchObject({ ok: false, status: 504 });
    expect(gateway.seen).toHaveLength(4);
    expect(waits).toEqual(['502', '503', '500']);
  });

  test.each([400, 401, 404, 413, 422])('has its result when the answer is %i', async (status) => {
    answers = [[status, refusal('no')]];
    expect(await ask()).toMatchObject({ ok: false, status });
    expect(gateway.seen).toHaveLength(1);
  });

  test('whose answer is too large has failed, and is not asked and charged again', async () => {
    answers = [[200, JSON.stringify('x'.repeat(2_000))]];
    expect(await ask()).toEqual({
      ...{ ok: false, status: 502 },
      body: { error: { message: 'The answer is larger than 1000 bytes.', code: 'answer_too_large' } },
    });
    expect(gateway.seen).toHaveLength(1);
  });

  test('whose answer breaks off is tried again a few times, and then has failed', async () => {
    await gateway.close();
    gateway = await startBackend((_seen, response) => {
      response.writeHead(200, { 'content-length': 100 }).write('half');
      setTimeout(() => response.destroy(), 10);
    });
    await asker.close();
    asker = lineAsker({
      gatewayUrl: gateway.address,
      internalToken: () => Promise.resolve('t'),
      pauseMsMax: 1,
    });
    expect(await ask()).toEqual({
      ...{ ok: false, status: 502 },
      body: { error: { message: 'The answer broke off.', code: 'answer_cut' } },
    });
    expect(gateway.seen).toHaveLength(3);
    expect(waits).toEqual(['502 answer_cut', '502 answer_cut']);
  });

  test('that is not answered in time is tried again a few times, and then has failed', async () => {
    await gateway.close();
    gateway = await startBackend(() => undefined);
    await asker.close();
    asker = lineAsker({
      gatewayUrl: gateway.address,
      internalToken: () => Promise.resolve('t'),
      pauseMsMax: 1,
      answerMsMax: 100,
    });
    expect(await ask()).toMatchObject({ ok: false, status: 504 });
    expect(gateway.seen).toHaveLength(3);
  });

  test('is given up at once when its batch ends', async () => {
    const ending = new AbortController();
    await asker.close();
    asker = lineAsker({ gatewayUrl: gateway.address, internalToken: () => Promise.resolve('t') });
    answers = [[503, '', { 'retry-after': '3600' }]];
    const asking = asker(line, ending.signal, () => {
      ending.abort();
    });
    await expect(asking).rejects.toThrow('abort');
  });

  test('fails, to be asked again, when the gateway is gone', async () => {
    await gateway.close();
    await expect(ask()).rejects.toThrow('ECONNREFUSED');
    gateway = await startBackend(() => undefined);
  });
});

function send(response: ServerResponse, [status, body = '', headers = {}]: Answer): void {
  response.writeHead(status, headers).end(body);
}
