import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  binaryMessage,
  isStructuredEvent,
  metadataOf,
  structuredMessage,
} from '../../../domain/payload-log/cloud-event.ts';
import type { PayloadEvent } from '../../../domain/payload-log/cloud-event.ts';
import { PayloadLogPolicy } from '../../../domain/payload-log/payload-log-policy.schema.ts';

const event = (more: Partial<PayloadEvent> = {}): PayloadEvent => ({
  kind: 'request',
  id: '1-2-3',
  source: 'muster-gateway',
  time: '2026-11-24T12:00:00.000Z',
  namespace: 'default',
  inferenceService: 'iris',
  component: 'predictor',
  requestId: 'req-1',
  metadata: null,
  annotations: null,
  contentType: 'application/json',
  contentEncoding: '',
  data: new TextEncoder().encode('{"instances":[[1.0,12345678901234567890]]}'),
  ...more,
});
const pairs = ({ headers }: { headers: readonly string[] }) =>
  Object.fromEntries(headers.flatMap((name, at) => (at % 2 === 0 ? [[name, headers[at + 1]]] : [])));
const text = ({ body }: { body: Uint8Array }) => new TextDecoder().decode(body);

describe('a binary event', () => {
  test("has KServe's attributes as headers and the payload as its body", () => {
    const message = binaryMessage(event());
    expect(pairs(message)).toEqual({
      'ce-specversion': '1.0',
      'ce-type': 'org.kubeflow.serving.inference.request',
      'ce-source': 'muster-gateway',
      'ce-id': '1-2-3',
      'ce-time': '2026-11-24T12:00:00.000Z',
      'ce-inferenceservicename': 'iris',
      'ce-namespace': 'default',
      'ce-component': 'predictor',
      'ce-requestid': 'req-1',
      'content-type': 'application/json',
    });
    expect(text(message)).toBe('{"instances":[[1.0,12345678901234567890]]}');
  });

  test('escapes what a header cannot hold', () => {
    const headers = pairs(binaryMessage(event({ metadata: { 'X-User': 'Å 100%"\r\n' } })));
    expect(headers['ce-metadata']).toBe('{"X-User":"%C3%85 100%25\\"\\r\\n"}');
  });

  test('for any words, headers are printable and decode to the words', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (words) => {
        const value = pairs(binaryMessage(event({ id: words })))['ce-id'] ?? '';
        expect(value).toMatch(/^([\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?)?$/);
        expect(decodeURIComponent(value)).toBe(Buffer.from(words).toString());
      }),
    );
  });
});

describe('a structured event', () => {
  test('holds a JSON payload as it is, digit for digit', () => {
    const message = structuredMessage(event({ kind: 'response', annotations: { team: 'a' } }));
    expect(pairs(message)['content-type']).toBe('application/cloudevents+json; charset=utf-8');
    expect(text(message)).toContain('"data":{"instances":[[1.0,12345678901234567890]]}}');
    expect(JSON.parse(text(message))).toMatchObject({
      type: 'org.kubeflow.serving.inference.response',
      datacontenttype: 'application/json',
      annotations: '{"team":"a"}',
    });
  });

  test.each([
    ['tensors', 'application/octet-stream', new Uint8Array([0, 255, 10])],
    ['what only says that it is JSON', 'application/json', new TextEncoder().encode('{"a":')],
    ['JSON that is no UTF-8', 'application/json', new Uint8Array([0x22, 0xff, 0x22])],
    ['a large payload', '', new Uint8Array(100_000).fill(7)],
    ['an empty payload', 'application/json', new Uint8Array()],
  ])('holds %s in base64', (_name, contentType, data) => {
    const parsed = JSON.parse(text(structuredMessage(event({ contentType, data })))) as Record<
      string,
      string
    >;
    expect(parsed['data']).toBeUndefined();
    expect(Buffer.from(parsed['data_base64'] ?? 'none', 'base64')).toEqual(Buffer.from(data));
  });

  test('does not take a compressed payload for JSON', () => {
    const parsed = JSON.parse(text(structuredMessage(event({ contentEncoding: 'gzip' })))) as Record<
      string,
      string
    >;
    expect(parsed).toMatchObject({ contentencoding: 'gzip' });
    expect(parsed['data_base64']).toBeDefined();
  });
});

describe('what is told for a structured event of ours', () => {
  const utf8 = (body: string) => new TextEncoder().encode(body);
  const head = '{"specversion":"1.0","type":"org.kubeflow.serving.inference.request",';

  test.each([['request'], ['response']] as const)('a %s as it is made, however large', (kind) => {
    const { headers, body } = structuredMessage(event({ kind, data: new Uint8Array(100_000) }));
    expect(isStructuredEvent(pairs({ headers })['content-type'] ?? '', body)).toBe(true);
  });

  test.each([
    ['without parameters', 'application/cloudevents+json', `${head}"data":1}`, true],
    ['in capitals', 'Application/CloudEvents+JSON ; charset=UTF-8', `${head}"data":1}`, true],
    ['of another content type', 'application/json', `${head}"data":1}`, false],
    ['of many at once', 'application/cloudevents-batch+json', `[${head}"data":1}]`, false],
    ['of another type', 'application/cloudevents+json', '{"specversion":"1.0","type":"com.example"}', false],
    ['whose type comes late', 'application/cloudevents+json', `{"a":"${'x'.repeat(300)}",${head}`, false],
    ['without a body', 'application/cloudevents+json', '', false],
  ])('one %s: %p', (_name, contentType, body, isOurs) => {
    expect(isStructuredEvent(contentType, utf8(body))).toBe(isOurs);
  });
});

describe('what an event tells of headers', () => {
  test('those asked for, in any case, and never a credential', () => {
    const headers = {
      'x-user': 'ann',
      'x-list': ['a', 'b'],
      authorization: 'Bearer secret',
      cookie: 'session=secret',
      'x-api-key': 'secret',
    };
    const names = ['X-User', 'x-list', 'x-missing', 'Authorization', 'COOKIE', 'X-Api-Key'];
    expect(metadataOf(headers, names)).toEqual({ 'X-User': 'ann', 'x-list': 'a, b' });
    const internal = { 'x-muster-internal': 'token', 'x-muster-caller': 'ann' };
    expect(metadataOf(internal, ['X-Muster-Internal', 'x-muster-caller'])).toEqual({});
  });
});

describe('the policy', () => {
  test('is without sinks by default, and keeps services from private networks', () => {
    expect(PayloadLogPolicy.parse({})).toMatchObject({
      sinks: [],
      defaultUrl: null,
      allowPrivateSinks: false,
    });
  });

  test.each(['file:///etc/passwd', 'ftp://a/b', 'http://user:secret@a/', 'not a url', 'javascript:alert(1)'])(
    'refuses the sink %s',
    (url) => {
      expect(PayloadLogPolicy.safeParse({ sinks: [{ url }] }).success).toBe(false);
      expect(PayloadLogPolicy.safeParse({ defaultUrl: url }).success).toBe(false);
    },
  );
});
