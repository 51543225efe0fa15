import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { ResiliencePolicy } from '../../../domain/resilience/resilience-policy.schema.ts';
import { startRawBackend } from '../../fixtures/gateway/backends.ts';
import type { RawBackend } from '../../fixtures/gateway/backends.ts';
import { postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';
import { hear, isWholeRequest, prompt, said, streamedAnswer } from '../../fixtures/resilience/stand-in.ts';

const usage = { stream_options: { include_usage: true } };
const completion = { model: 'm', prompt, stream: true, ...usage };
const chat = { model: 'm', messages: [{ role: 'user', content: prompt }], stream: true, ...usage };

describe('a stream that its server cuts', () => {
  let gateway: TestGateway;
  let backends: RawBackend[] = [];
  /** Bytes of its answer that the first server asked gives before it breaks; the others give all. */
  let cutAt = Infinity;
  /** How it breaks: a reset, or an end in good order. */
  let isPolite = false;
  let answered = 0;
  let cuts = 1;
  /** The first server asked has no time. */
  let isBusy = false;
  beforeEach(async () => {
    cutAt = Infinity;
    isPolite = false;
    cuts = 1;
    isBusy = false;
    gateway = await startTestGateway();
    backends = await Promise.all(
      [0, 1, 2].map((at) =>
        startRawBackend((socket, received) => {
          if (!isWholeRequest(received)) return;
          const whole = streamedAnswer(received, `id-${String(at)}`);
          answered += 1;
          if (isBusy && answered === 1) {
            socket.end('HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n');
            return;
          }
          if (answered > cuts || cutAt >= whole.length) socket.end(whole);
          else if (isPolite) socket.end(whole.subarray(0, cutAt));
          else socket.write(whole.subarray(0, cutAt), () => setTimeout(() => socket.resetAndDestroy(), 1));
        }),
      ),
    );
  });
  afterEach(async () => {
    await gateway.close();
    for (const backend of backends) await backend.close();
  });
  const use = (midStream: object, count = 3) => {
    const resilience: ResiliencePolicy = {
      all: {
        midStream,
        retry: { budgetPerSecond: 1000 },
        outlier: { consecutiveFailures: 0, failurePercent: 0 },
      },
    };
    const ready = backends.slice(0, count).map(({ address }) => address);
    gateway.store.apply({ ...table([service('m', { ready })], 1), policy: { resilience } }, -1);
  };
  const ask = async (body: object) => {
    answered = 0;
    return postJson(`${gateway.url}/v1/${'prompt' in body ? 'completions' : 'chat/completions'}`, body);
  };
  const lengthOf = (body: object) =>
    streamedAnswer(Buffer.from(`\r\n\r\n${JSON.stringify(body)}`), 'id-0').length;

  test.each([
    ['completion', completion, false],
    ['completion, ended in good order', completion, true],
    ['chat', chat, false],
  ])(
    'at any byte, %s: the client gets the unbroken text, one identity, one end and one usage',
    async (_name, body, polite) => {
      use({ mode: 'continue' });
      isPolite = polite;
      const unbroken = hear((await ask(body)).text);
      expect(unbroken).toMatchObject({ text: said, finishes: ['stop'], dones: 1, errors: 0 });
      const length = lengthOf(body);
      for (cutAt = 0; cutAt < length; cutAt += 1) {
        const { status, text } = await ask(body);
        const heard = hear(text);
        expect({ cutAt, status, ...heard, ids: heard.ids.size }).toEqual({
          cutAt,
          status: 200,
          ...unbroken,
          ids: 1,
        });
      }
    },
    120_000,
  );

  test('twice, at any byte: still one stream', async () => {
    use({ mode: 'continue', continuationsMax: 2 });
    cuts = 2;
    const unbroken = hear((await ask(completion)).text);
    for (cutAt = 200; cutAt < 900; cutAt += 7) {
      const heard = hear((await ask(completion)).text);
      expect({ cutAt, ...heard, ids: heard.ids.size }).toEqual({ cutAt, ...unbroken, ids: 1 });
    }
  }, 60_000);

  test('with a bound on tokens, at any byte: no token more, and the reason is the bound', async () => {
    use({ mode: 'continue' });
    const body = { ...completion, max_tokens: 5 };
    const unbroken = hear((await ask(body)).text);
    expect(unbroken.finishes).toEqual(['length']);
    for (cutAt = 0; cutAt < lengthOf(body); cutAt += 3) {
      const heard = hear((await ask(body)).text);
      expect({ cutAt, ...heard, ids: heard.ids.size }).toEqual({ cutAt, ...unbroken, ids: 1 });
    }
  }, 60_000);

  test('where the policy says error, at any byte: a beginning of the text, then an error; never a silent end', async () => {
    use({ mode: 'error' });
    const length = lengthOf(completion);
    for (cutAt = 150; cutAt < length; cutAt += 1) {
      const heard = hear((await ask(completion)).text);
      expect(said.startsWith(heard.text)).toBe(true);
      expect({ cutAt, ends: heard.errors + heard.dones }).toEqual({ cutAt, ends: 1 });
      if (heard.dones === 1) expect(heard.text).toBe(said);
    }
  }, 60_000);

  test.each([
    ['it asks for probabilities', { ...completion, logprobs: 1 }],
    ['it asks for several answers', { ...completion, n: 2 }],
    ['it asks for tools', { ...chat, tools: [{ type: 'function', function: { name: 'f' } }] }],
  ])('where %s, the client is told of the cut', async (_name, body) => {
    use({ mode: 'continue' });
    cutAt = 700;
    expect(hear((await ask(body)).text)).toMatchObject({ errors: 1, dones: 0 });
    expect(answered).toBe(1);
  });

  test('where no other server is there, the client is told of the cut', async () => {
    use({ mode: 'continue' }, 1);
    cutAt = 700;
    expect(hear((await ask(completion)).text)).toMatchObject({ errors: 1, dones: 0 });
  });

  test('is gone on with by a server that had no time for its beginning', async () => {
    use({ mode: 'continue' }, 2);
    isBusy = true;
    cuts = 2;
    cutAt = 700;
    expect(hear((await ask(completion)).text)).toMatchObject({ text: said, errors: 0, dones: 1 });
    expect(answered).toBe(3);
  });

  test('more often than the policy goes on with it, the client is told of the cut', async () => {
    use({ mode: 'continue', continuationsMax: 1 });
    cuts = 2;
    cutAt = 700;
    expect(hear((await ask(completion)).text)).toMatchObject({ errors: 1, dones: 0 });
    expect(answered).toBe(2);
  });

  test('a chat of a server that is not known to continue is not guessed at', async () => {
    use({ mode: 'continue', chat: 'never' });
    cutAt = 700;
    expect(hear((await ask(chat)).text)).toMatchObject({ errors: 1, dones: 0 });
  });
});

describe('a server that is asked to go on with a stream', () => {
  const begin =
    'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nserver: llama.cpp\r\n\r\n' +
    'data: {"id":"a","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n';
  test.each([
    [400, 1, 0],
    [429, 1, 0],
    [503, 0, 1],
  ])('and refuses with %i counts as well %i times, as ill %i times', async (code, good, bad) => {
    const gateway = await startTestGateway();
    let count = 0;
    const backends = await Promise.all(
      [0, 1].map(() =>
        startRawBackend((socket, received) => {
          if (!isWholeRequest(received)) return;
          count += 1;
          if (count === 1) socket.write(begin, () => setTimeout(() => socket.resetAndDestroy(), 1));
          else socket.write(`HTTP/1.1 ${String(code)} No\r\ncontent-length: 2\r\n\r\n{}`);
        }),
      ),
    );
    try {
      const ready = backends.map(({ address }) => address);
      const resilience: ResiliencePolicy = { all: { midStream: { mode: 'continue' } } };
      gateway.store.apply({ ...table([service('m', { ready })], 1), policy: { resilience } }, -1);
      const { text } = await postJson(`${gateway.url}/v1/chat/completions`, chat);
      expect(hear(text)).toMatchObject({ text: 'hi', errors: 1, dones: 0 });
      expect(text).toContain(`STATUS_${String(code)}`);
      const healths = ready.map((address) => gateway.endpoints.bind(address).health);
      // The other one is the one that cut: its head was good, its stream was not.
      const sum = (of: 'good' | 'bad') => healths.reduce((all, health) => all + health[of], 0);
      expect([count, sum('good') - 1, sum('bad') - 1]).toEqual([2, good, bad]);
    } finally {
      await gateway.close();
      for (const backend of backends) await backend.close();
    }
  });
});

describe('a stream of two answers whose server ends after one of them', () => {
  const chunk = (index: number, finish: string | null) =>
    `data: ${JSON.stringify({ id: 'a', choices: [{ index, text: 'x', finish_reason: finish }] })}\n\n`;
  const first = chunk(0, null) + chunk(0, 'stop');
  const whole = first + chunk(1, 'stop');
  const asked = { model: 'm', prompt, stream: true, n: 2 };

  test.each([
    ['the policy says error', 'error', first, 1],
    ['the policy goes on with streams', 'continue', first, 1],
    ['both were said, and only the last word is missing', 'error', whole, 0],
  ] as const)('where %s (%s)', async (_name, mode, text, errors) => {
    const gateway = await startTestGateway();
    const head =
      'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nserver: llama.cpp\r\nconnection: close\r\n\r\n';
    const backend = await startRawBackend((socket, received) => {
      if (isWholeRequest(received)) socket.end(head + text);
    });
    try {
      const resilience: ResiliencePolicy = { all: { midStream: { mode } } };
      const services = [service('m', { ready: [backend.address] })];
      gateway.store.apply({ ...table(services, 1), policy: { resilience } }, -1);
      const heard = hear((await postJson(`${gateway.url}/v1/completions`, asked)).text);
      expect(heard).toMatchObject({ errors, dones: 1 - errors });
    } finally {
      await gateway.close();
      await backend.close();
    }
  });
});
