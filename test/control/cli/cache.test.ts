import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { startCachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import type { CachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import { ask, chatServer, json } from '../../fixtures/cache/openai-server.ts';
import type { ChatServer } from '../../fixtures/cache/openai-server.ts';
import { runCli } from '../../fixtures/cli/run-cli.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { service } from '../../fixtures/gateway/tables.ts';

describe('muster cache', () => {
  let gateway: CachedGateway;
  let backend: Backend;
  let server: ChatServer;
  let folder: string;
  let open = 0;
  let openMost = 0;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'muster-warm-'));
    gateway = await startCachedGateway();
    server = chatServer(5);
    open = 0;
    openMost = 0;
    backend = await startBackend((seen, response) => {
      open += 1;
      openMost = Math.max(openMost, open);
      response.on('close', () => (open -= 1));
      if (seen.body.includes('refuse me')) json(response, 500, { error: { message: 'no' } });
      else server.respond(seen, response);
    });
    gateway.use([service('tiny', { ready: [backend.address] })], { enabled: true });
  });
  afterEach(async () => {
    await gateway.close();
    await backend.close();
    rmSync(folder, { recursive: true });
  });
  const muster = (args: string[], stdin?: string) =>
    runCli(args, {
      env: { MUSTER_GATEWAY_URL: gateway.url, MUSTER_API_URL: gateway.url },
      cwd: folder,
      ...(stdin === undefined ? {} : { stdin }),
    });

  test('warm sends each line once, so many at a time, and says what came of it', async () => {
    const lines = [
      ...Array.from({ length: 20 }, (_, at) => JSON.stringify(ask(`question ${at}`))),
      '',
      JSON.stringify({
        custom_id: 'a',
        method: 'POST',
        url: '/v1/chat/completions',
        body: ask('in a batch'),
      }),
      JSON.stringify({ specversion: '1.0', type: 'a.request', data: ask('in a log') }),
      JSON.stringify({ specversion: '1.0', type: 'a.response', data: {} }),
      JSON.stringify(ask('sampled', { temperature: 1 })),
    ];
    writeFileSync(join(folder, 'questions.jsonl'), lines.join('\n'));
    expect(await muster(['cache', 'warm', 'questions.jsonl', '--concurrency', '3'])).toEqual({
      code: 0,
      stdout: '22 answers kept, 0 were there already, 1 are not cached by the policy, 0 failed\n',
      stderr: '',
    });
    expect(openMost).toBe(3);
    expect(server.count).toBe(23);
    const again = await muster(['cache', 'warm', '-'], lines.join('\n'));
    expect(again.stdout).toContain('0 answers kept, 22 were there already');
    expect(server.count).toBe(24);
  });

  test('warm goes on after lines that fail, tells which, and fails', async () => {
    const lines = ['nonsense', JSON.stringify(ask('refuse me')), JSON.stringify(ask('good'))];
    const answer = await muster(['cache', 'warm', '-', '--concurrency', '1'], lines.join('\n'));
    expect(answer.code).toBe(1);
    expect(answer.stdout).toContain(
      '1 answers kept, 0 were there already, 0 are not cached by the policy, 2 failed',
    );
    expect(answer.stderr).toContain('line 1: it is not JSON');
    expect(answer.stderr).toContain('line 2: 500: no');
  });

  test.each([
    [['cache', 'warm', 'nothing.jsonl'], 'nothing.jsonl cannot be read'],
    [['cache', 'warm', '-', '--concurrency', '0'], '--concurrency must be'],
    [['cache', 'warm', '-', '--concurrency', 'many'], '--concurrency must be'],
  ])('%j is refused in one line', async (args, says) => {
    const { code, stderr } = await muster(args, '');
    expect(code).toBe(2);
    expect(stderr).toContain(says);
  });

  test('purge forgets what was kept', async () => {
    await muster(['cache', 'warm', '-'], JSON.stringify(ask()));
    expect(await muster(['cache', 'purge', 'tiny'])).toEqual({
      code: 0,
      stdout: 'default/tiny: forgot 1 answers in memory and 0 in Redis\n',
      stderr: '',
    });
    expect((await muster(['cache', 'warm', '-'], JSON.stringify(ask()))).stdout).toContain('1 answers kept');
    expect((await muster(['cache', 'purge', 'nothing'])).code).toBe(4);
  });
});
