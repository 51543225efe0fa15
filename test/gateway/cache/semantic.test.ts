import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { hash } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { startCachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import type { CachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import { ask, chatServer, json } from '../../fixtures/cache/openai-server.ts';
import type { ChatServer } from '../../fixtures/cache/openai-server.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, Respond } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { postJson } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { fixtureModel, startModelServer } from '../../fixtures/runtime/server.ts';

/** Words as directions: prompts with the same words in any order are the same, each other word turns them away. */
const embedWords: Respond = (seen, response) => {
  const { input } = JSON.parse(seen.body.toString()) as { input: string };
  const vector = new Array<number>(64).fill(0);
  for (const word of input.toLowerCase().match(/\w+/g) ?? []) {
    const at = parseInt(hash('sha256', word, 'hex').slice(0, 6), 16) % 64;
    vector[at] = (vector[at] ?? 0) + 1;
  }
  json(response, 200, {
    object: 'list',
    data: [{ index: 0, embedding: vector }],
    usage: { prompt_tokens: 1 },
  });
};

describe('the semantic cache', () => {
  let gateway: CachedGateway;
  let server: ChatServer;
  let chats: Backend;
  let embedder: Backend;
  let respond: Respond;
  beforeEach(async () => {
    gateway = await startCachedGateway();
    server = chatServer();
    chats = await startBackend(server.respond);
    respond = embedWords;
    embedder = await startBackend((seen, response) => {
      respond(seen, response);
    });
    use();
  });
  afterEach(async () => {
    await gateway.close();
    await chats.close();
    await embedder.close();
  });
  const use = (semantic: Record<string, unknown> = {}, cache: Record<string, unknown> = {}, sketch = {}) => {
    gateway.use(
      [
        service('tiny', { ready: [chats.address], ...sketch }),
        service('minilm', { ready: [embedder.address] }),
      ],
      {
        services: {
          'default/tiny': {
            enabled: true,
            // A wait that a busy test machine keeps to: the bound itself has a test of its own.
            semantic: { enabled: true, model: 'minilm', timeoutMs: 10_000, ...semantic },
          },
        },
        ...cache,
      },
    );
  };
  const chat = (body: unknown, headers: Record<string, string> = {}) =>
    postJson(`${gateway.url}/v1/chat/completions`, body, headers);
  const level = ({ headers }: { headers: Headers }) =>
    headers.get('x-muster-cache') === 'hit'
      ? headers.get('x-muster-cache-level')
      : headers.get('x-muster-cache');
  const prompt = 'please tell me now where the blue whale lives';
  const similar = 'please now tell me where the blue whale lives';

  test('answers a prompt that means the same, and says how alike they are', async () => {
    const first = await chat(ask(prompt));
    const again = await chat(ask(similar));
    expect([level(first), level(again)]).toEqual(['miss', 'semantic']);
    expect(again.text).toBe(first.text);
    expect(Number(again.headers.get('x-muster-cache-similarity'))).toBeGreaterThan(0.99);
    expect(server.count).toBe(1);
    expect(level(await chat(ask(prompt)))).toBe('local');
  });

  test('gives it in the form that was asked for', async () => {
    await chat(ask(prompt));
    const again = await chat(ask(similar, { stream: true }));
    expect(level(again)).toBe('semantic');
    expect(again.headers.get('content-type')).toContain('text/event-stream');
  });

  test('gives an old answer to those alone that take one of any age, also where they wait together', async () => {
    const first = await chat(ask(prompt));
    gateway.pass(1_000);
    let embed = () => undefined as unknown;
    respond = (seen, response) => {
      embed = () => {
        embedWords(seen, response);
      };
    };
    const waiting = (count: number) =>
      until(async () => (await gateway.metric('muster_gateway_cache_waiting')) === count);
    const leader = chat(ask(similar));
    await until(() => embedder.seen.length === 2);
    const others = ['max-age=10', 'max-age=100000', 'max-stale'].map((control) =>
      chat(ask(similar), { 'cache-control': control }),
    );
    await waiting(3);
    embed();
    const answers = await Promise.all([leader, ...others]);
    expect(answers.map(level)).toEqual(['semantic', 'miss', 'flight', 'flight']);
    expect(answers.map(({ text }) => text === first.text)).toEqual([true, false, true, true]);
    expect(await gateway.metric('muster_gateway_cache_unserved_waits_total', { reason: 'too_old' })).toBe(1);
    expect(server.count).toBe(2);
  });

  test('asks the server for a prompt that is not near enough', async () => {
    await chat(ask(prompt));
    expect(level(await chat(ask('please tell me now where the red squirrel sleeps')))).toBe('miss');
  });

  test('has its threshold from the policy', async () => {
    await chat(ask(prompt));
    const further = ask('please tell me now where the blue fox lives');
    expect(level(await chat(further, { 'cache-control': 'only-if-cached' }))).toBe('miss');
    use({ threshold: 0.8 });
    expect(level(await chat(further))).toBe('semantic');
  });

  test.each([
    [
      'another system prompt',
      {
        messages: [
          { role: 'system', content: 'be rude' },
          { role: 'user', content: similar },
        ],
      },
    ],
    [
      'another turn before',
      {
        messages: [
          { role: 'user', content: 'a' },
          { role: 'assistant', content: 'b' },
          { role: 'user', content: similar },
        ],
      },
    ],
    ['tools', { tools: [{ type: 'function', function: { name: 'f' } }] }],
    ['another seed', { seed: 4 }],
    ['more choices', { n: 2 }],
    ['another format', { response_format: { type: 'json_object' } }],
    ['a shorter answer', { max_tokens: 1 }],
  ])('never answers across %s', async (_what, more) => {
    await chat(ask(prompt));
    expect(level(await chat(ask(similar, more)))).toBe('miss');
    expect(server.count).toBe(2);
  });

  test('never answers across another query', async () => {
    const chatWith = (query: string, content: string) =>
      postJson(`${gateway.url}/v1/chat/completions${query}`, ask(content));
    await chatWith('?api-version=1', prompt);
    expect(level(await chatWith('?api-version=2', similar))).toBe('miss');
    expect(level(await chatWith('', similar))).toBe('miss');
    expect(level(await chatWith('?api-version=1', similar))).toBe('semantic');
  });

  test('never answers across numbers and negations, however alike the prompts are', async () => {
    respond = (_seen, response) => {
      json(response, 200, { data: [{ embedding: [1, 0] }] });
    };
    await chat(ask('what is 2 plus 2'));
    expect(level(await chat(ask('what is 2 plus 3')))).toBe('miss');
    expect(level(await chat(ask('what is not 2 plus 2')))).toBe('miss');
    expect(level(await chat(ask('so, what is 2 plus 2')))).toBe('semantic');
  });

  test('keeps tenants apart, unless the policy shares', async () => {
    const [a, b] = [{ authorization: 'Bearer a' }, { authorization: 'Bearer b' }];
    await chat(ask(prompt), a);
    expect(level(await chat(ask(similar), b))).toBe('miss');
    expect(level(await chat(ask(similar), a))).toBe('semantic');
    use({}, { scope: 'shared' });
    await chat(ask(`${prompt} today`), a);
    expect(level(await chat(ask(`today ${similar}`), b))).toBe('semantic');
  });

  test('keeps model versions apart', async () => {
    await chat(ask(prompt));
    use({}, {}, { generation: 2 });
    expect(level(await chat(ask(similar)))).toBe('miss');
  });

  test('forgets a prompt whose answer is gone', async () => {
    await chat(ask(prompt));
    await postJson(`${gateway.url}/v1/cache/purge`, { model: 'tiny' });
    expect(level(await chat(ask(similar)))).toBe('miss');
    expect(level(await chat(ask(prompt)))).toBe('semantic'); // of the new one
  });

  test('does without what cannot be embedded: long prompts, pictures, embeddings', async () => {
    use({ promptCharsMax: 20 });
    await chat(ask(prompt));
    await chat(ask('', { messages: [{ role: 'user', content: [{ type: 'text', text: 'x' }] }] }));
    expect(embedder.seen).toHaveLength(0);
  });

  test.each<[string, Respond]>([
    [
      'refuses',
      (_seen, response) => {
        json(response, 500, {});
      },
    ],
    [
      'sends nonsense',
      (_seen, response) => {
        response.end('nonsense');
      },
    ],
    [
      'sends no numbers',
      (_seen, response) => {
        json(response, 200, { data: [{ embedding: ['x'] }] });
      },
    ],
    ['hangs', () => undefined],
    ['breaks the connection', (_seen, response) => response.destroy()],
  ])(
    'is exact alone while the embedding model %s, and leaves it alone for a while',
    async (_what, broken) => {
      use({ timeoutMs: 100 });
      respond = broken;
      for (let at = 0; at < 5; at += 1) expect((await chat(ask(`${prompt} ${at}`))).status).toBe(200);
      expect(level(await chat(ask(`${prompt} 1`)))).toBe('local');
      const events = await gateway.metric('muster_gateway_cache_semantic_events_total', {
        event: 'failures',
      });
      expect(events).toBe(3);
    },
  );

  test('is exact alone when there is no such model', async () => {
    use({ model: 'nobody' });
    expect([level(await chat(ask(prompt))), level(await chat(ask(prompt)))]).toEqual(['miss', 'local']);
  });

  test('takes a new length of vectors for a new index', async () => {
    await chat(ask(prompt));
    respond = (_seen, response) => {
      json(response, 200, { data: [{ embedding: [1, 2, 3] }] });
    };
    expect(level(await chat(ask(similar)))).toBe('miss');
    expect(level(await chat(ask('anything at all')))).toBe('semantic');
  });

  test('holds no more vectors than the policy allows', async () => {
    use({ entriesMax: 5 });
    for (let at = 0; at < 12; at += 1) await chat(ask(`word${at} alone`));
    expect(await gateway.metric('muster_gateway_cache_vectors')).toBe(5);
    use({}, { local: { vectorBytesMax: 0 } });
    expect(await gateway.metric('muster_gateway_cache_vectors')).toBe(0);
    expect(await gateway.metric('muster_gateway_cache_vector_bytes')).toBe(0);
  });

  test('remembers a tenant’s prompts though another floods it with its own', async () => {
    use({}, { local: { vectorBytesMax: 20_000 } }); // of about 35 prompts
    const [quiet, loud] = [{ authorization: 'Bearer quiet' }, { authorization: 'Bearer loud' }];
    await chat(ask(prompt), quiet);
    for (let at = 0; at < 50; at += 1)
      await chat(ask(`word${'abcdefghij'[at % 10] ?? ''} ${'z'.repeat(at)}`), loud);
    expect(level(await chat(ask(similar), quiet))).toBe('semantic');
    expect(level(await chat(ask(`${'z'.repeat(49)} wordj`), loud))).toBe('semantic');
    expect(await gateway.metric('muster_gateway_cache_vectors')).toBeGreaterThan(15);
    expect(await gateway.metric('muster_gateway_cache_vector_bytes')).toBeLessThanOrEqual(20_000);
  });

  test('does not hold the words before a prompt', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const heap = () => {
      collect();
      return process.memoryUsage().heapUsed;
    };
    await chat(ask(prompt));
    const before = heap();
    for (let at = 0; at < 60; at += 1) {
      const system = { role: 'system', content: `${at} ${'x'.repeat(500_000)}` };
      await chat(ask('', { messages: [system, { role: 'user', content: prompt }] }));
    }
    expect(await gateway.metric('muster_gateway_cache_vectors')).toBe(61);
    expect(heap() - before).toBeLessThan(15_000_000);
  });

  test('works with a real encoder on our own model server', async () => {
    const model = await startModelServer(['--model_name=encoder', `--model_dir=${fixtureModel('encoder')}`]);
    try {
      gateway.use([service('tiny', { ready: [chats.address] }), service('encoder', { ready: [model.url] })], {
        enabled: true,
        semantic: { enabled: true, model: 'default/encoder', threshold: 0.9999 },
      });
      // The fixture's vectors are means of the tokens' places in its list: a cat sat = 4 5 7, a dog sat = 4 6 7.
      await chat(ask('a cat sat'));
      expect(level(await chat(ask('sat a cat')))).toBe('semantic');
      expect(level(await chat(ask('a dog')))).toBe('miss');
    } finally {
      await model.end();
    }
  });
});
