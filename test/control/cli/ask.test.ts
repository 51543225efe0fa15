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

  test('a gateway that is away is said to be, with what to do', async () => {
    const answer = await runCli(['chat', 'x', 'hi'], {
      env: { MUSTER_GATEWAY_URL: await refusingAddress() },
    });
    expect(answer.code).toBe(6);
    expect(answer.stderr).toContain('muster up');
  });
});
