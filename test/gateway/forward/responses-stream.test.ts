import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import OpenAI, { APIError } from 'openai';
import { startRawBackend } from '../../fixtures/gateway/backends.ts';
import type { RawBackend } from '../../fixtures/gateway/backends.ts';
import { postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { isWholeRequest } from '../../fixtures/resilience/stand-in.ts';

const event = (type: string, more: object = {}) =>
  `event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`;
const stream = [
  event('response.created', { response: { id: 'resp_1' } }),
  event('response.output_text.delta', { delta: 'é said' }),
  event('response.completed', { response: { id: 'resp_1', status: 'completed' } }),
].join('');
const head = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n';
const chunk = (bytes: Uint8Array) =>
  Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]);

describe('a stream of the Responses API', () => {
  let gateway: TestGateway;
  let backend: RawBackend;
  /** What the server says before its stream ends in good order, or is reset. */
  let says: Buffer = Buffer.alloc(0);
  let isPolite = true;
  let asked = '';
  beforeEach(async () => {
    backend = await startRawBackend((socket, received) => {
      if (!isWholeRequest(received)) return;
      asked = received.toString('latin1');
      const body = says.length === 0 ? says : chunk(says);
      if (isPolite) socket.end(Buffer.concat([Buffer.from(head), body, Buffer.from('0\r\n\r\n')]));
      else {
        socket.write(Buffer.concat([Buffer.from(head), body]), () =>
          setTimeout(() => socket.resetAndDestroy(), 1),
        );
      }
    });
    gateway = await startTestGateway({}, [service('m', { ready: [backend.address] })]);
  });
  afterEach(async () => {
    await gateway.close();
    await backend.close();
  });

  const ask = async (): Promise<{ types: string[]; error: unknown }> => {
    const client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'none', maxRetries: 0 });
    const types: string[] = [];
    try {
      for await (const { type } of await client.responses.create({ model: 'm', input: 'hi', stream: true }))
        types.push(type);
      return { types, error: null };
    } catch (error) {
      return { types, error };
    }
  };

  test('passes as its server sent it', async () => {
    says = Buffer.from(stream);
    isPolite = true;
    expect((await postJson(`${gateway.url}/v1/responses`, { model: 'm', stream: true })).text).toBe(stream);
    expect(await ask()).toEqual({
      types: ['response.created', 'response.output_text.delta', 'response.completed'],
      error: null,
    });
  });

  test.each([
    ['ends in good order', true],
    ['is reset', false],
  ])(
    'that %s before its last event, at any byte, is an error to the client and never whole',
    async (_how, polite) => {
      isPolite = polite;
      const whole = Buffer.from(stream);
      for (let cut = 1; cut < whole.length; cut += 1) {
        says = whole.subarray(0, cut);
        const { types, error } = await ask();
        expect([cut, types.includes('response.completed')]).toEqual([cut, false]);
        expect(error).toBeInstanceOf(APIError);
      }
    },
    60_000,
  );

  test.each([
    [[], 0],
    [[0, 1], 2],
  ])('that ends early behind the events %j numbers its error', async (numbers, next) => {
    isPolite = true;
    says = Buffer.from(
      numbers.map((at) => event('response.output_text.delta', { sequence_number: at })).join(''),
    );
    const { text } = await postJson(`${gateway.url}/v1/responses`, { model: 'm', stream: true });
    const [, data = ''] = text.split('event: error\ndata: ');
    expect(JSON.parse(data)).toMatchObject({
      type: 'error',
      sequence_number: next,
      code: 'upstream_failed',
      param: null,
      message: expect.stringContaining('STREAM_TRUNCATED'),
    });
  });

  test('of a stored response that ends early says so, too', async () => {
    isPolite = true;
    says = Buffer.from(stream);
    await ask(); // now its server is known
    says = Buffer.from(event('response.output_text.delta', { delta: 'a' }));
    const answer = await fetch(`${gateway.url}/v1/responses/resp_1?stream=true`);
    expect(asked).not.toMatch(/accept-encoding/i); // else its end could not be read
    expect(await answer.text()).toMatch(/^event: response\.output_text\.delta\n.*\n\nevent: error\ndata: \{/);
  });

  test('that is reset behind its last event is whole', async () => {
    says = Buffer.from(stream);
    isPolite = false;
    expect((await ask()).error).toBeNull();
  });
});

describe('an event too long to be held back', () => {
  const begin = 'data: {"choices":[{"finish_reason":"stop","index":0,"delta":{"content":"';
  test.each([
    ['is reset', false, ''],
    ['ends in good order, its reason given', true, ''],
    ['ends in good order, with the last word in its text', true, '[DONE]'],
  ])('and %s ends before the error event, which stands alone', async (_how, polite, tail) => {
    const long = `${begin}${'x'.repeat(1_500_000)}${tail}`;
    const backend = await startRawBackend((socket, received) => {
      if (!isWholeRequest(received)) return;
      const sent = Buffer.concat([Buffer.from(head), chunk(Buffer.from(long))]);
      if (polite) socket.end(Buffer.concat([sent, Buffer.from('0\r\n\r\n')]));
      else socket.write(sent, () => setTimeout(() => socket.resetAndDestroy(), 500)); // what is not read by then is lost
    });
    const gateway = await startTestGateway({}, [service('m', { ready: [backend.address] })]);
    try {
      const asked = { model: 'm', stream: true, messages: [{ role: 'user', content: 'hi' }] };
      const { text } = await postJson(`${gateway.url}/v1/chat/completions`, asked);
      const blocks = text.split('\n\n').filter((block) => block !== '');
      const [half = '', error = ''] = blocks;
      expect(blocks).toHaveLength(2);
      expect(long.startsWith(half)).toBe(true);
      expect(() => JSON.parse(half.slice('data: '.length)) as unknown).toThrow(SyntaxError);
      expect(JSON.parse(error.slice('data: '.length))).toMatchObject({
        error: { code: 'upstream_failed' },
      });
    } finally {
      await gateway.close();
      await backend.close();
    }
  });
});
