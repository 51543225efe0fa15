import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';
import { startCachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import type { CachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import { ask, chatServer, chunks, completion, json, stream } from '../../fixtures/cache/openai-server.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, Respond } from '../../fixtures/gateway/backends.ts';
import { postJson } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

describe('what the cache keeps and gives', () => {
  let gateway: CachedGateway;
  let backend: Backend | null = null;
  beforeEach(async () => {
    gateway = await startCachedGateway();
  });
  afterEach(async () => {
    await gateway.close();
    await backend?.close();
    backend = null;
  });
  const serve = async (respond: Respond, cache: Record<string, unknown> = {}) => {
    backend = await startBackend(respond);
    gateway.use([service('tiny', { ready: [backend.address] })], { enabled: true, ...cache });
    return backend;
  };
  const chat = (body: unknown, headers: Record<string, string> = {}) =>
    postJson(`${gateway.url}/v1/chat/completions`, body, headers);
  const state = ({ headers }: { headers: Headers }) => headers.get('x-muster-cache');

  describe('what is kept', () => {
    test('a refusal of the server, for a short time', async () => {
      let count = 0;
      await serve(
        (_seen, response) => {
          count += 1;
          json(response, 400, { error: { message: `no ${count}` } });
        },
        { negativeTtlSeconds: 5 },
      );
      const first = await chat(ask());
      const again = await chat(ask());
      expect([state(again), again.status, again.text]).toEqual(['hit', 400, first.text]);
      gateway.pass(6);
      expect(state(await chat(ask()))).toBe('miss');
    });

    test.each([
      ['user', 5],
      ['stream_options', { include_usage: true }],
      ['metadata', 'none'],
      ['prompt_cache_key', 1],
      ['stream', true],
    ])('a refusal over a %s of %j, for requests with the same', async (name, value) => {
      await serve((seen, response) => {
        if (seen.body.includes(`"${name}":`)) json(response, 400, { error: { message: `no ${name}` } });
        else json(response, 200, completion('fine'));
      });
      const bad = ask('hi', { [name]: value });
      expect([state(await chat(bad)), state(await chat(bad))]).toEqual(['miss', 'hit']);
      const good = await chat(ask());
      expect([state(good), good.status]).toEqual(['miss', 200]);
      expect((await chat(ask())).status).toBe(200);
    });

    test('no refusal when the policy says 0', async () => {
      await serve(
        (_seen, response) => {
          json(response, 400, { error: { message: 'no' } });
        },
        { negativeTtlSeconds: 0 },
      );
      await chat(ask());
      expect(state(await chat(ask()))).toBe('miss');
    });

    const rows: [string, Respond][] = [
      [
        'status 500',
        (_seen, response) => {
          json(response, 500, { error: { message: 'x' } });
        },
      ],
      [
        'status 429',
        (_seen, response) => {
          json(response, 429, { error: { message: 'x' } });
        },
      ],
      [
        'an error with status 200',
        (_seen, response) => {
          json(response, 200, { error: { message: 'x' } });
        },
      ],
      [
        'an answer without an end',
        (_seen, response) => {
          json(response, 200, {
            ...completion('x'),
            choices: [{ index: 0, message: {}, finish_reason: null }],
          });
        },
      ],
      [
        'an aborted answer',
        (_seen, response) => {
          json(response, 200, {
            ...completion('x'),
            choices: [{ index: 0, message: {}, finish_reason: 'abort' }],
          });
        },
      ],
      [
        'no choices',
        (_seen, response) => {
          json(response, 200, { ...completion('x'), choices: [] });
        },
      ],
      [
        'no JSON',
        (_seen, response) => {
          response.writeHead(200, { 'content-type': 'application/json' });
          response.end('{"choices":[{"finish_reason":"stop"}]');
        },
      ],
      [
        'another type',
        (_seen, response) => {
          response.writeHead(200, { 'content-type': 'text/html' });
          response.end(JSON.stringify(completion('x')));
        },
      ],
      [
        'an answer that its server forbids to keep',
        (_seen, response) => {
          response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
          response.end(JSON.stringify(completion('x')));
        },
      ],
      [
        'an answer that hangs on other headers of the request',
        (_seen, response) => {
          response.writeHead(200, { 'content-type': 'application/json', vary: 'Origin, X-Mood' });
          response.end(JSON.stringify(completion('x')));
        },
      ],
      [
        'compressed bytes',
        (_seen, response) => {
          response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'br' });
          response.end('x');
        },
      ],
      [
        'a large answer',
        (_seen, response) => {
          json(response, 200, completion('x'.repeat(3_000)));
        },
      ],
      [
        'a cut answer',
        (_seen, response) => {
          response.writeHead(200, { 'content-type': 'application/json', 'content-length': 1_000 });
          response.write(JSON.stringify(completion('x')));
          setTimeout(() => response.destroy(), 20);
        },
      ],
    ];
    test.each(rows)('never %s', async (_what, respond) => {
      const { seen } = await serve(respond, { entryBytesMax: 2_000 });
      await chat(ask()).catch(() => null);
      const before = seen.length;
      const again = await chat(ask()).catch(() => null);
      expect(again === null ? null : state(again)).not.toBe('hit');
      expect(seen.length).toBeGreaterThan(before);
      expect(await gateway.metric('muster_gateway_cache_entries')).toBe(0);
    });

    test.each([
      ['without its end and its last word', chunks('one two', false).slice(0, -2)],
      ['without an end of its choice', chunks('one two', false).filter((each) => !each.includes('"stop"'))],
      [
        'with an error in it',
        [...chunks('one two', false).slice(0, 2), 'data: {"error":{"message":"x"}}\n\n', 'data: [DONE]\n\n'],
      ],
    ])('never a stream %s', async (_what, events) => {
      await serve((_seen, response) => {
        stream(response, events);
      });
      await chat(ask('hi', { stream: true })).catch(() => null);
      expect(await gateway.metric('muster_gateway_cache_entries')).toBe(0);
    });

    test('no more bytes than the policy allows', async () => {
      const server = chatServer();
      await serve(server.respond, { local: { bytesMax: 10_000 } });
      for (let at = 0; at < 50; at += 1) await chat(ask(`question ${at}`));
      expect(await gateway.metric('muster_gateway_cache_bytes')).toBeLessThanOrEqual(10_000);
      expect(await gateway.metric('muster_gateway_cache_evictions_total')).toBeGreaterThan(30);
      expect(state(await chat(ask('question 49')))).toBe('hit');
    });
  });

  describe('streams', () => {
    test('are given again as streams, byte for byte', async () => {
      const server = chatServer();
      await serve(server.respond);
      const body = ask('hi', { stream: true, stream_options: { include_usage: true } });
      const first = await chat(body);
      const again = await chat(body);
      expect([state(again), again.text]).toEqual(['hit', first.text]);
      expect(again.headers.get('content-type')).toBe('text/event-stream');
    });

    test('become JSON, and JSON becomes a stream, for the official client', async () => {
      const server = chatServer();
      await serve(server.respond);
      const client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'k', maxRetries: 0 });
      const messages = [{ role: 'user' as const, content: 'hi' }];
      const read = async () => {
        const events = await client.chat.completions.create({
          model: 'tiny',
          messages,
          temperature: 0,
          stream: true,
          stream_options: { include_usage: true },
        });
        let text = '';
        let tokens = 0;
        for await (const part of events) {
          text += part.choices[0]?.delta.content ?? '';
          tokens += part.usage?.total_tokens ?? 0;
        }
        return { text, tokens };
      };
      expect(await read()).toEqual({ text: 'answer 1', tokens: 10 });
      const whole = await client.chat.completions.create({ model: 'tiny', messages, temperature: 0 });
      expect(whole.choices[0]?.message.content).toBe('answer 1');
      expect(whole.usage?.total_tokens).toBe(10);
      await fetch(`${gateway.url}/v1/cache/purge`, { method: 'POST', body: '{"model":"tiny"}' });
      await client.chat.completions.create({ model: 'tiny', messages, temperature: 0 });
      expect(await read()).toEqual({ text: 'answer 2', tokens: 10 });
      expect(server.count).toBe(2);
    });

    test('with usage are told without it to those who did not ask', async () => {
      const server = chatServer();
      await serve(server.respond);
      await chat(ask('hi', { stream: true, stream_options: { include_usage: true } }));
      const again = await chat(ask('hi', { stream: true }));
      expect(state(again)).toBe('hit');
      expect(again.text).not.toContain('prompt_tokens');
      expect(again.text.endsWith('data: [DONE]\n\n')).toBe(true);
    });

    test('without usage do not answer those who need it, whose answer then serves both', async () => {
      const server = chatServer();
      await serve(server.respond);
      await chat(ask('hi', { stream: true }));
      expect(state(await chat(ask()))).toBe('miss');
      expect(state(await chat(ask('hi', { stream: true })))).toBe('hit');
      expect(server.count).toBe(2);
    });
  });

  describe("Anthropic's messages", () => {
    const say = (more: Record<string, unknown> = {}) =>
      postJson(`${gateway.url}/v1/messages`, {
        model: 'tiny',
        max_tokens: 9,
        temperature: 0,
        messages: [{ role: 'user', content: 'hi' }],
        ...more,
      });

    test('are given again in their own form, streamed or not', async () => {
      const server = chatServer();
      await serve(server.respond);
      const first = await say();
      const again = await say();
      expect([state(first), state(again)]).toEqual(['miss', 'hit']);
      expect(again.body).toMatchObject({ type: 'message', content: [{ type: 'text', text: 'answer 1' }] });
      const streamed = await say({ stream: true });
      expect(state(streamed)).toBe('hit');
      expect(streamed.text).toContain('event: message_stop');
      expect(streamed.text).toContain('answer 1');
      expect(server.count).toBe(1);
    });

    test('share answers with chats that ask the same', async () => {
      const server = chatServer();
      await serve(server.respond);
      await say({ stream: true });
      expect(state(await say())).toBe('hit');
      expect(state(await chat(ask('hi', { max_tokens: 9 })))).toBe('hit');
      expect(server.count).toBe(1);
    });
  });

  test('nothing is kept of a service whose servers ask for themselves who calls', async () => {
    let count = 0;
    const { address } = await serve((seen, response) => {
      count += 1;
      json(response, 200, {
        id: 'c',
        choices: [{ message: { content: String(seen.headers.authorization) } }],
      });
    });
    gateway.use([{ ...service('tiny', { ready: [address] }), passAuthorization: true }], { enabled: true });
    const say = (who: string) =>
      postJson(`${gateway.url}/v1/chat/completions`, ask(), { authorization: `Bearer ${who}` });
    const answers = [await say('ann'), await say('bob'), await say('bob')];
    expect(answers.map(state)).toEqual(['bypass', 'bypass', 'bypass']);
    expect(answers[1]?.text).toContain('Bearer bob');
    const both = await Promise.all([say('ann'), say('bob')]);
    expect(both.map(({ text }) => /Bearer \w+/.exec(text)?.[0])).toEqual(['Bearer ann', 'Bearer bob']);
    expect(count).toBe(5);
  });

  describe('V1 and V2', () => {
    test('are kept by their exact bytes where the policy says so', async () => {
      let count = 0;
      const { address } = await serve((_seen, response) => {
        count += 1;
        json(response, 200, { model_name: 'tiny', outputs: [count] });
      });
      const infer = (body: string) => postJson(`${gateway.url}/v2/models/tiny/infer`, body);
      expect(state(await infer('{"inputs":[1]}'))).toBeNull();
      gateway.use([service('tiny', { ready: [address] })], { enabled: true, kserve: true });
      expect(state(await infer('{"inputs":[1]}'))).toBe('miss');
      expect(state(await infer('{"inputs":[1]}'))).toBe('hit');
      expect(state(await infer('{"inputs":[1] }'))).toBe('miss');
      expect(state(await postJson(`${gateway.url}/v1/models/tiny:predict`, '{"inputs":[1]}'))).toBe('miss');
    });

    test('keep the length of the JSON before binary tensors', async () => {
      const bytes = Buffer.concat([Buffer.from('{"outputs":[]}'), Buffer.from([0, 255, 1])]);
      await serve(
        (_seen, response) => {
          response.writeHead(200, {
            'content-type': 'application/octet-stream',
            'inference-header-content-length': '14',
          });
          response.end(bytes);
        },
        { kserve: true },
      );
      const infer = async () => {
        const answer = await fetch(`${gateway.url}/v2/models/tiny/infer`, {
          method: 'POST',
          body: '{"inputs":[1]}',
        });
        return { answer, body: Buffer.from(await answer.arrayBuffer()) };
      };
      await infer();
      const { answer, body } = await infer();
      expect(answer.headers.get('x-muster-cache')).toBe('hit');
      expect(answer.headers.get('inference-header-content-length')).toBe('14');
      expect(body.equals(bytes)).toBe(true);
    });
  });
});
