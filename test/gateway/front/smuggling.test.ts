import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { echo, startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { dial } from '../../fixtures/front/front.ts';

/**
 * Requests that two readers may take for different ones. Each is followed by one that must never be reached as part
 * of it: the server may see the whole first request or nothing, and of what follows nothing that was hidden in it.
 */
describe('requests that hide another', () => {
  let backend: Backend;
  let gateway: TestGateway;
  beforeAll(async () => {
    backend = await startBackend(echo);
    gateway = await startTestGateway({ requestReadMs: 300, headReadMs: 300 }, [
      service('tiny', { ready: [backend.address] }),
    ]);
  });
  afterAll(async () => {
    await gateway.close();
    await backend.close();
  });
  beforeEach(() => {
    backend.seen.length = 0;
  });

  const hidden = 'GET /v2/models/hidden/config HTTP/1.1\r\nhost: x\r\n\r\n';
  const head = (...lines: string[]) => ['POST /v1/completions HTTP/1.1', ...lines, '', ''].join('\r\n');
  const model = '{"model":"tiny"}';

  test.each([
    [
      'a length and a transfer coding',
      head('host: x', 'content-length: 5', 'transfer-encoding: chunked') + `0\r\n\r\n${hidden}`,
    ],
    [
      'the other way round',
      head('host: x', 'transfer-encoding: chunked', `content-length: ${hidden.length}`) +
        `0\r\n\r\n${hidden}`,
    ],
    [
      'a coding after a space',
      head('host: x', 'transfer-encoding : chunked', 'content-length: 5') + `0\r\n\r\n${hidden}`,
    ],
    [
      'a coding behind a tab',
      head('host: x', 'transfer-encoding:\x0bchunked', 'content-length: 5') + `0\r\n\r\n${hidden}`,
    ],
    [
      'a coding on a folded line',
      head('host: x', 'transfer-encoding:', ' chunked', 'content-length: 5') + `0\r\n\r\n${hidden}`,
    ],
    [
      'an unknown coding',
      head('host: x', 'transfer-encoding: xchunked', 'content-length: 5') + `0\r\n\r\n${hidden}`,
    ],
    [
      'two codings',
      head('host: x', 'transfer-encoding: chunked', 'transfer-encoding: identity') + `0\r\n\r\n${hidden}`,
    ],
    ['two lengths', head('host: x', 'content-length: 0', `content-length: ${hidden.length}`) + hidden],
    ['a list of lengths', head('host: x', `content-length: 0, ${hidden.length}`) + hidden],
    ['a signed length', head('host: x', `content-length: +${hidden.length}`) + hidden],
    ['a length in hex', head('host: x', 'content-length: 0x0') + hidden],
    ['a length with a space before its colon', head('host: x', `content-length : ${hidden.length}`) + hidden],
    ['a length that overflows', head('host: x', 'content-length: 18446744073709551616') + hidden],
    [
      'a bare line feed in the head',
      `POST /v1/completions HTTP/1.1\nhost: x\ncontent-length: 0\n\n${hidden}`,
    ],
    [
      'a bare carriage return in the head',
      `POST /v1/completions HTTP/1.1\r\nhost: x\rcontent-length: ${hidden.length}\r\n\r\n${hidden}`,
    ],
    ['NUL in the head', head('host: x', 'x: a\0', 'content-length: 0') + hidden],
    ['a folded host', head('host: x', ' y', 'content-length: 0') + hidden],
    ['two hosts', head('host: x', 'host: y', `content-length: ${model.length}`) + model],
    ['no host', head(`content-length: ${model.length}`) + model],
    ['a chunk size that is none', head('host: x', 'transfer-encoding: chunked') + `0x0\r\n\r\n${hidden}`],
    [
      'a chunk that ends without its line end',
      head('host: x', 'transfer-encoding: chunked') + `1\r\naXX0\r\n\r\n${hidden}`,
    ],
    ['a chunk size ended by a line feed', head('host: x', 'transfer-encoding: chunked') + `0\n\n${hidden}`],
  ])('%s: refused, and the connection ends', async (_what, text) => {
    const client = await dial(Number(new URL(gateway.url).port));
    await client.write(text);
    await client.closed();
    expect(client.text).toMatch(/^HTTP\/1.1 4\d\d /);
    expect(client.text.match(/HTTP\/1.1/g)).toHaveLength(1);
    expect(backend.seen).toEqual([]);
  });

  test('a request in the body of another is only its body', async () => {
    const body = `{"model":"tiny","prompt":${JSON.stringify(hidden)}}`;
    const client = await dial(Number(new URL(gateway.url).port));
    const first = `${head('host: x', `content-length: ${body.length}`)}${body}`;
    await client.write(
      first + first + head('host: x', 'connection: close', `content-length: ${body.length}`) + body,
    );
    await client.closed();
    expect(client.answers().map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(backend.seen.map((seen) => [seen.url, seen.body.toString()])).toEqual(
      Array.from({ length: 3 }, () => ['/v1/completions', body]),
    );
  });

  test('headers that name others for the connection do not take their fields to the server', async () => {
    const client = await dial(Number(new URL(gateway.url).port));
    const lines = ['host: x', 'connection: close, x-hop', 'x-hop: secret', `content-length: ${model.length}`];
    await client.write(head(...lines) + model);
    await client.closed();
    expect(backend.seen[0]?.headers).not.toHaveProperty('x-hop');
  });
});
