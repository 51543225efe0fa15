import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Backend, Respond } from '../../fixtures/gateway/backends.ts';
import { refusingAddress, startBackend } from '../../fixtures/gateway/backends.ts';
import { runCli } from '../../fixtures/cli/run-cli.ts';

const event = (text: string) => `data: ${JSON.stringify({ choices: [{ delta: { content: text } }] })}\n\n`;

describe('muster chat and muster infer', () => {
  let gateway: Backend;
  let respond: Respond;
  beforeEach(async () => {
    gateway = await startBackend((seen, response) => {
      respond(seen, response);
    });
  });
  afterEach(() => gateway.close());
  const muster = (args: string[], stdin?: string) =>
    runCli(args, {
      env: { MUSTER_GATEWAY_URL: gateway.address, MUSTER_API_URL: gateway.address },
      ...(stdin === undefined ? {} : { stdin }),
    });
  const asked = () => JSON.parse(gateway.seen.at(-1)!.body.toString()) as Record<string, unknown>;

  test('an answer is printed as it streams, and asked for so that it is repeatable', async () => {
    respond = (_seen, response) => {
      response.write(event('In the '));
      response.end(`${event('beginning')}data: [DONE]\n\n`);
    };
    const answer = await muster(['chat', 'tiny-llm', 'Say', 'it', '--max-tokens', '9']);
    expect(answer).toEqual({ code: 0, stdout: 'In the beginning\n', stderr: '' });
    expect(asked()).toMatchObject({
      model: 'tiny-llm',
      stream: true,
      temperature: 0,
      max_tokens: 9,
      messages: [{ role: 'system' }, { role: 'user', content: 'Say it' }],
    });
  });

  test('a prompt may come on standard input, and the system message be left out', async () => {
    respond = (_seen, response) => response.end(`${event('yes')}data: [DONE]\n\n`);
    expect((await muster(['chat', 'tiny-llm', '--system', ''], 'piped\n')).stdout).toBe('yes\n');
    expect(asked()['messages']).toEqual([{ role: 'user', content: 'piped' }]);
  });

  test.each<{ name: string; reply: Respond; code: number; says: string }>([
    {
      name: 'an unknown model',
      reply: (_seen, response) =>
        response.writeHead(404).end('{"error":{"message":"The model \'x\' does not exist."}}'),
      code: 4,
      says: 'does not exist',
    },
    {
      name: 'a model that is not ready',
      reply: (_seen, response) => response.writeHead(503).end('{"error":{"message":"still loading"}}'),
      code: 1,
      says: 'still loading Look at it with: muster describe x',
    },
    {
      name: 'an error in the middle',
      reply: (_seen, response) =>
        response.end(`${event('half')}data: {"error":{"message":"the server is gone"}}\n\n`),
      code: 1,
      says: 'the server is gone',
    },
    {
      name: 'an end without the end',
      reply: (_seen, response) => response.end(event('half')),
      code: 1,
      says: 'broke off',
    },
  ])('$name is one plain line, and its exit code', async ({ reply, code, says }) => {
    respond = reply;
    const answer = await muster(['chat', 'x', 'hello']);
    expect(answer.code).toBe(code);
    expect(answer.stderr).toContain(says);
  });

  test.each([
    ['{"instances": [[1]]}', '/v1/models/iris:predict'],
    ['{"inputs": []}', '/v2/models/iris/infer'],
  ])('infer %s goes to %s, and the answer is printed as it came', async (body, path) => {
    respond = (_seen, response) => response.end('{"predictions": [9007199254740993]}\n');
    const answer = await muster(['infer', 'iris', '-d', body]);
    expect(gateway.seen.at(-1)?.url).toBe(path);
    expect(answer.stdout).toBe('{"predictions": [9007199254740993]}\n');
  });

  test.each([['not json'], ['[1]']])('infer refuses %s before it is sent', async (body) => {
    expect((await muster(['infer', 'iris', '-d', body])).code).toBe(2);
    expect(gateway.seen).toEqual([]);
  });

  describe('with an API key', () => {
    const asking = (args: string[], env: Record<string, string> = {}) => {
      respond = (_seen, response) => response.end(`${event('yes')}data: [DONE]\n\n`);
      return runCli(['chat', 'x', 'hello', ...args], {
        env: { MUSTER_GATEWAY_URL: gateway.address, ...env },
      });
    };
    const sent = () => gateway.seen.at(-1)?.headers;
    let folder: string;
    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), 'muster-key-'));
      writeFileSync(join(folder, 'key'), 'mk_from-the-file\n');
    });
    afterEach(() => {
      rmSync(folder, { recursive: true });
    });

    test('of the environment, or of a file before it, it is sent; without one, nothing is', async () => {
      await asking([]);
      expect(sent()?.authorization).toBeUndefined();
      await asking([], { MUSTER_API_KEY: 'mk_from-the-environment' });
      expect(sent()?.authorization).toBe('Bearer mk_from-the-environment');
      await asking(['--api-key-file', join(folder, 'key')], { MUSTER_API_KEY: 'mk_other' });
      expect(sent()?.authorization).toBe('Bearer mk_from-the-file');
      respond = (_seen, response) => response.end('{}');
      await runCli(['infer', 'x', '-d', '{"inputs": []}'], {
        env: { MUSTER_GATEWAY_URL: gateway.address, MUSTER_API_KEY: 'mk_from-the-environment' },
      });
      expect(sent()?.authorization).toBe('Bearer mk_from-the-environment');
    });

    test('the namespace is named only where the user names it: a key may have its own', async () => {
      await asking([]);
      expect(sent()?.['x-muster-namespace']).toBeUndefined();
      await asking(['-n', 'team']);
      expect(sent()?.['x-muster-namespace']).toBe('team');
    });

    test('that cannot be read, or is none, nothing is sent', async () => {
      const absent = await asking(['--api-key-file', join(folder, 'absent')]);
      expect([absent.code, absent.stderr]).toEqual([2, expect.stringContaining('cannot be read')]);
      const broken = await asking([], { MUSTER_API_KEY: 'two words' });
      expect([broken.code, broken.stderr]).toEqual([
        2,
        expect.stringContaining('MUSTER_API_KEY holds no API key'),
      ]);
      expect(broken.stderr).not.toContain('two words');
      expect(gateway.seen).toEqual([]);
    });

    test('that is refused, the answer says how to give one', async () => {
      respond = (_seen, response) => response.writeHead(401).end('{"error":{"message":"no such key"}}');
      const answer = await runCli(['chat', 'x', 'hi'], { env: { MUSTER_GATEWAY_URL: gateway.address } });
      expect(answer.code).toBe(1);
      expect(answer.stderr).toBe('muster: no such key Give the key by MUSTER_API_KEY or --api-key-file.\n');
    });
  });

  test('a gateway that is away is said to be, with what to do', async () => {
    const answer = await runCli(['chat', 'x', 'hi'], {
      env: { MUSTER_GATEWAY_URL: await refusingAddress() },
    });
    expect(answer.code).toBe(6);
    expect(answer.stderr).toContain('muster up');
  });
});
