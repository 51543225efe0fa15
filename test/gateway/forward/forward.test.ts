import { describe, expect, test } from '@jest/globals';
import type { ServerResponse } from 'node:http';
import { breakerState } from '../../../domain/resilience/outlier.ts';
import type { Respond } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get, postJson } from '../../fixtures/gateway/gateway.ts';
import { Forwarding, chat, says, status } from '../../fixtures/resilience/forwarding.ts';
import { isWholeRequest } from '../../fixtures/resilience/stand-in.ts';

const forwarding = new Forwarding();
const use = forwarding.use.bind(forwarding);
const backend = forwarding.backend.bind(forwarding);
const raw = forwarding.raw.bind(forwarding);
const ask = forwarding.ask.bind(forwarding);

/** The first endpoint asked is the one with nothing in flight that the table names first: chance decides between two. */
const both = async (bad: Respond, good: Respond = says('good')) => {
  const [one, two] = [await backend(bad), await backend(good)];
  return { bad: one, good: two, ready: [one.address, two.address] };
};

describe('an answer that says not now', () => {
  test.each([429, 502, 503, 504])('%i is tried at another server', async (code) => {
    const { ready, bad, good } = await both(status(code, { 'retry-after': '3600' }));
    use({ m: { ready } });
    for (let i = 0; i < 12; i += 1)
      expect(await ask()).toMatchObject({ status: 200, body: { from: 'good' } });
    expect(good.seen).toHaveLength(12);
    expect(bad.seen.length).toBeGreaterThan(0);
  });

  test('says how often it was tried, when that was more than once', async () => {
    const { ready } = await both(status(503));
    use({ m: { ready } });
    const attempts = new Set<string | null>();
    for (let i = 0; i < 12; i += 1) attempts.add((await ask()).headers.get('x-muster-attempts'));
    expect([...attempts].sort()).toEqual(['2', null].sort());
  });

  test.each([400, 404, 500])('%i is not, it passes as it is', async (code) => {
    const { ready, good } = await both(status(code), status(code));
    use({ m: { ready } });
    expect(await ask()).toMatchObject({ status: code, body: { error: `its own ${String(code)}` } });
    expect(good.seen.length).toBeLessThanOrEqual(1);
  });

  test('of the only server passes as it is', async () => {
    const only = await backend(status(503, { 'retry-after': '7' }));
    use({ m: { ready: [only.address] } });
    const answer = await ask();
    expect(answer).toMatchObject({ status: 503, body: { error: 'its own 503' } });
    expect(answer.headers.get('retry-after')).toBe('7');
    expect(only.seen).toHaveLength(1);
  });

  test('of the last server passes when all say so', async () => {
    const { ready, bad, good } = await both(status(503), status(503));
    use({ m: { ready } });
    expect(await ask()).toMatchObject({ status: 503, body: { error: 'its own 503' } });
    expect(bad.seen.length + good.seen.length).toBe(2);
  });

  test('with a Retry-After that the policy waits for is asked again after it', async () => {
    let count = 0;
    const only = await backend((seen, response) => {
      count += 1;
      (count === 1 ? status(429, { 'retry-after': '0' }) : says('later'))(seen, response);
    });
    use({ m: { ready: [only.address] } }, { all: { retry: { retryAfterMsMax: 100 } } });
    expect(await ask()).toMatchObject({ status: 200, body: { from: 'later' } });
  });

  test('is repeated within the budget only', async () => {
    const { ready, good, bad } = await both(status(503));
    use(
      { m: { ready } },
      {
        all: {
          retry: { budgetPercent: 0, budgetPerSecond: 0 },
          outlier: { consecutiveFailures: 0, failurePercent: 0 },
        },
      },
    );
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask()));
    expect(bad.seen.length).toBeGreaterThan(0);
    expect(bad.seen.length + good.seen.length).toBe(20);
    expect(answers.filter((answer) => answer.status === 503)).toHaveLength(bad.seen.length);
  });
});

describe('times', () => {
  const silent: Respond = () => undefined;
  test('a try that is over its time is made at another server', async () => {
    const { ready } = await both(silent);
    use({ m: { ready } }, { all: { retry: { perTryMs: 100 } } });
    for (let i = 0; i < 6; i += 1) expect(await ask()).toMatchObject({ status: 200, body: { from: 'good' } });
  });

  test('without a time for each try a silent server is final, after the whole time', async () => {
    const { ready, bad, good } = await both(silent, silent);
    use({ m: { ready } }, { all: { totalMs: 200 } });
    expect((await ask()).status).toBe(504);
    expect(bad.seen.length + good.seen.length).toBe(1);
  });

  test('the whole time bounds all tries together, and a stream too', async () => {
    const slow = await backend((_seen, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"choices":[]}\n\n');
    });
    use({ m: { ready: [slow.address] } }, { all: { totalMs: 200 } });
    const { text } = await ask({ ...chat, stream: true });
    expect(text).toContain('REQUEST_TIMEOUT');
    expect(text).not.toContain('[DONE]');
  });
});

describe('a slow server', () => {
  const slowly =
    (ms: number, closed: { count: number }): Respond =>
    (_seen, response: ServerResponse) => {
      const timer = setTimeout(() => response.end('{"from":"slow"}'), ms);
      response.on('close', () => {
        clearTimeout(timer);
        if (!response.writableEnded) closed.count += 1;
      });
    };

  test('is overtaken by a second one, and told to stop at once', async () => {
    const closed = { count: 0 };
    const { ready, bad } = await both(slowly(20_000, closed));
    use({ m: { ready } }, { all: { hedge: { after: 20, budgetPercent: 100 } } });
    let asked = 0;
    for (let i = 0; i < 20; i += 1) {
      expect((await ask()).body).toEqual({ from: 'good' });
      asked = bad.seen.length;
      await until(() => closed.count === asked);
    }
    expect(asked).toBeGreaterThan(0);
    expect(forwarding.gateway.endpoints.bind(bad.address).inFlight).toBe(0);
  });

  test('is charged for by nobody: the usage is that of the one whose answer the client got', async () => {
    const answerOf =
      (ms: number): Respond =>
      (_seen, response) => {
        const usage = { prompt_tokens: 5, completion_tokens: 3, total_tokens: 8 };
        setTimeout(() => response.end(JSON.stringify({ id: 'x', choices: [], usage })), ms);
      };
    const { ready, bad, good } = await both(answerOf(60), answerOf(5));
    use({ m: { ready } }, { all: { hedge: { after: 15, budgetPercent: 100 } } });
    for (let i = 0; i < 20; i += 1) expect((await ask()).status).toBe(200);
    expect(bad.seen.length + good.seen.length).toBeGreaterThan(20);
    const metrics = (await get(`${forwarding.gateway.url}/metrics`)).text;
    expect(/^muster_gateway_usage_output_tokens_total\{.*\} (\d+)$/m.exec(metrics)?.[1]).toBe('60');
    expect(metrics).toMatch(/muster_gateway_resilience_hedges_won_total\{.*\} [1-9]/);
  });

  test('is waited for when the budget for asking twice is spent', async () => {
    const closed = { count: 0 };
    const { ready, bad, good } = await both(slowly(60, closed), slowly(60, closed));
    use({ m: { ready } }, { all: { hedge: { after: 5, budgetPercent: 10 } } });
    for (let i = 0; i < 20; i += 1) expect((await ask()).status).toBe(200);
    expect(bad.seen.length + good.seen.length).toBeLessThanOrEqual(22);
    expect(bad.seen.length + good.seen.length).toBeGreaterThan(20);
  });

  test('is waited for when the second one fails', async () => {
    const closed = { count: 0 };
    const { ready } = await both(slowly(100, closed), (_seen, response) => response.destroy());
    use(
      { m: { ready } },
      {
        all: {
          hedge: { after: 10, budgetPercent: 100 },
          retry: { tries: 1 },
          outlier: { consecutiveFailures: 0 },
        },
      },
    );
    const bodies = await Promise.all(Array.from({ length: 4 }, () => ask()));
    expect(bodies.filter(({ status: code }) => code === 200).length).toBeGreaterThan(0);
  });
});

describe('a server that fails', () => {
  test('again and again is left alone, and comes back when it is well', async () => {
    let isWell = false;
    const { ready, bad } = await both((seen, response) =>
      (isWell ? says('bad') : status(502))(seen, response),
    );
    use(
      { m: { ready } },
      {
        all: { outlier: { consecutiveFailures: 3, baseMs: 200 }, activeHealth: { mode: 'off' } },
      },
    );
    const { load } = forwarding.gateway.store
      .current()!
      .byKey.get('default/m')!
      .endpoints.find((e) => e.address === bad.address)!;
    while (breakerState(load, performance.now()) === 'closed') expect((await ask()).status).toBe(200);
    expect(bad.seen.length).toBe(3);
    isWell = true;
    await until(async () => ((await ask()).body as { from: string }).from === 'bad');
    expect(breakerState(load, performance.now())).toBe('closed');
  });

  test('is still asked when all fail', async () => {
    const { ready, bad, good } = await both(status(502), status(502));
    use({ m: { ready } }, { all: { outlier: { consecutiveFailures: 1 } } });
    for (let i = 0; i < 10; i += 1) expect((await ask()).status).toBe(502);
    expect(bad.seen.length + good.seen.length).toBeGreaterThanOrEqual(10);
  });
});

/** Answers to /v1/responses are looked at by a tap, and small ones are held until they are whole. */
describe('an answer that is held back', () => {
  const body = JSON.stringify({ id: 'resp_1', text: 'x'.repeat(100) });
  const whole = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-own: yes\r\nconnection: x-hop\r\nx-hop: 1\r\ncontent-length: ${String(body.length)}\r\n\r\n${body}`;
  const responses = () => postJson(`${forwarding.gateway.url}/v1/responses`, { model: 'm', input: 'hi' });

  test('cut at any byte is asked for once more, and else a clean error; never half an answer', async () => {
    let cutAt = 0;
    let count = 0;
    let isEver = true;
    const only = await raw((socket, received) => {
      if (!isWholeRequest(received)) return;
      count += 1;
      if (isEver || count === 1)
        socket.write(whole.slice(0, cutAt), () => setTimeout(() => socket.resetAndDestroy(), 1));
      else socket.end(whole);
    });
    use({ m: { ready: [only.address] } }, { all: { retry: { budgetPerSecond: 10_000 } } });
    for (const ever of [true, false]) {
      isEver = ever;
      for (cutAt = 0; cutAt < whole.length; cutAt += 1) {
        count = 0;
        const answer = await responses();
        expect({ cutAt, status: answer.status, count }).toEqual({
          cutAt,
          status: ever ? 502 : 200,
          count: 2,
        });
        if (ever)
          expect(answer.body).toMatchObject({
            error: { code: expect.stringMatching(/^upstream_/) as unknown },
          });
        else expect(answer.text).toBe(body);
      }
    }
  }, 60_000);

  test("keeps its headers, and not those of the server's connection", async () => {
    const only = await raw((socket, received) => {
      if (isWholeRequest(received)) socket.write(whole);
    });
    use({ m: { ready: [only.address] } });
    const answer = await responses();
    expect(answer.headers.get('x-own')).toBe('yes');
    expect(answer.headers.get('x-hop')).toBeNull();
    expect(answer.headers.get('content-length')).toBe(String(body.length));
    expect(answer.text).toBe(body);
  });
});

test('HEAD of a model passes without a body', async () => {
  const only = await backend((_seen, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': '12' });
    response.end();
  });
  use({ m: { ready: [only.address] } });
  const answer = await fetch(`${forwarding.gateway.url}/v2/models/m`, { method: 'HEAD' });
  expect([answer.status, await answer.text()]).toEqual([200, '']);
});

test.each([
  ['GET', 2],
  ['DELETE', 1],
] as const)(
  '%s of a stored response that broke its connection is sent %i times in all',
  async (method, times) => {
    let asked = 0;
    const { address } = await raw((socket, received) => {
      const body = JSON.stringify({ id: 'resp_1', object: 'response' });
      if (!isWholeRequest(received)) return;
      if (received.toString().startsWith('POST'))
        socket.end(`HTTP/1.1 200 OK\r\ncontent-length: ${String(body.length)}\r\n\r\n${body}`);
      else {
        asked += 1;
        socket.resetAndDestroy();
      }
    });
    use({ m: { ready: [address] } });
    const { url } = forwarding.gateway;
    expect((await postJson(`${url}/v1/responses`, { model: 'm', input: 'hi' })).status).toBe(200);
    expect((await fetch(`${url}/v1/responses/resp_1`, { method })).status).toBe(502);
    expect(asked).toBe(times);
  },
);
