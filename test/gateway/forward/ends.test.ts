import { Socket } from 'node:net';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { UsageTap } from '../../../gateway/usage/usage-tap.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get } from '../../fixtures/gateway/gateway.ts';
import { Forwarding, chat } from '../../fixtures/resilience/forwarding.ts';
import { isWholeRequest } from '../../fixtures/resilience/stand-in.ts';

const forwarding = new Forwarding();
const stream = { ...chat, stream: true };
const events = (status: string) => `HTTP/1.1 ${status}\r\ncontent-type: text/event-stream\r\n\r\n`;
const chunk = (text: string) =>
  `data: ${JSON.stringify({ id: 'a', object: 'chat.completion.chunk', choices: [{ index: 0, delta: { content: text } }] })}\n\n`;

async function upstreamErrors(): Promise<string[]> {
  const { text } = await get(`${forwarding.gateway.url}/metrics`);
  return text.split('\n').filter((line) => line.startsWith('muster_gateway_upstream_errors_total{'));
}

describe('the end of an answer', () => {
  afterEach(() => {
    jest.restoreAllMocks();
  });

  test.each([
    ['an answer that is held back is cut', { 'content-length': '14' }, null],
    ['one that was passed on is whole', {}, '{"from":"one"}'],
  ])('comes also where a fault of ours stands behind its last byte: %s', async (_what, headers, whole) => {
    jest.spyOn(UsageTap.prototype, 'onEnd').mockImplementationOnce(() => {
      throw new Error('a fault');
    });
    const server = await forwarding.backend((_seen, response) => {
      response.writeHead(200, { 'content-type': 'application/json', ...headers });
      response.end('{"from":"one"}');
    });
    forwarding.use({ m: { ready: [server.address] } });
    const text = await forwarding.ask().then(
      (answer) => answer.text,
      () => null,
    );
    expect(text).toBe(whole);
    await until(async () => {
      const scrape = await get(`${forwarding.gateway.url}/metrics`);
      return /^muster_gateway_in_flight(\{.*\})? [01]$/m.test(scrape.text); // the scrape itself may count
    });
    expect(forwarding.gateway.logs.some((line) => JSON.stringify(line).includes('a fault'))).toBe(true);
    expect((await forwarding.ask()).status).toBe(200);
  });

  test('is the last word, also of a server that keeps its connection open behind it', async () => {
    const server = await forwarding.raw((socket, received) => {
      if (isWholeRequest(received)) socket.write(`${events('200 OK')}${chunk('hi')}data: [DONE]\n\n`);
    });
    forwarding.use({ m: { ready: [server.address] } }, { all: { totalMs: 200 } });
    const { text } = await forwarding.ask(stream);
    expect(text).toBe(`${chunk('hi')}data: [DONE]\n\n`);
    expect(await upstreamErrors()).toEqual([]);
  });

  test('that is not there in time is counted as its server being late', async () => {
    const server = await forwarding.raw(() => undefined);
    forwarding.use({ m: { ready: [server.address] } }, { all: { totalMs: 200 } });
    expect((await forwarding.ask()).status).toBe(504);
    expect(await upstreamErrors()).toEqual([expect.stringMatching(/kind="timeout".* 1$/)]);
  });

  test('goes out with the last word where both came together', async () => {
    const size = (text: string) => `00${text.length.toString(16)}\r\n${text}\r\n`;
    const head = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n';
    const last = `${chunk('b')}data: [DONE]\n\n`;
    const server = await forwarding.raw((socket, received) => {
      if (isWholeRequest(received)) socket.write(`${head}${size(chunk('a'))}${size(last)}0\r\n\r\n`);
    });
    forwarding.use({ m: { ready: [server.address] } });
    const write = jest.spyOn(Socket.prototype, 'write');
    const { text } = await forwarding.ask(stream);
    expect(text).toBe(`${chunk('a')}${last}`);
    const ends = write.mock.calls.map(([bytes]) => Buffer.from(bytes as Uint8Array).toString());
    const own = ends.filter((written) => written.endsWith('\r\n0\r\n\r\n') && !written.includes('\r\n00'));
    expect(own).toHaveLength(1);
    expect(own[0]).toContain(last);
    expect(ends).not.toContain('0\r\n\r\n');
  });

  test('of a stream of errors that is cut is an error: no other server goes on with it', async () => {
    let asked = 0;
    const server = () =>
      forwarding.raw((socket, received) => {
        if (!isWholeRequest(received)) return;
        asked += 1;
        socket.write(`${events('500 Oh')}${chunk('no')}`, () =>
          setTimeout(() => socket.resetAndDestroy(), 50),
        );
      });
    const ready = [(await server()).address, (await server()).address];
    forwarding.use({ m: { ready } }, { all: { midStream: { mode: 'continue', chat: 'vllm' } } });
    const { status, text } = await forwarding.ask(stream);
    expect([status, asked]).toEqual([500, 1]);
    expect(
      text
        .split('\n\n')
        .filter((block) => block !== '')
        .at(-1),
    ).toContain('"error"');
  });
});
