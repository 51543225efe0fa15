import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { RequestStart, requestHead } from '../../../../gateway/upstream/socket/request-bytes.ts';
import { CommonHeaders } from '../../../../gateway/upstream/upstream.ts';
import type { UpstreamRequest } from '../../../../gateway/upstream/upstream.ts';

const request = (more: Partial<UpstreamRequest> = {}): UpstreamRequest => ({
  method: 'POST',
  path: '/v1/completions',
  headers: [],
  body: null,
  headersMs: 1,
  bodyIdleMs: 1,
  ...more,
});
const head = (more: Partial<UpstreamRequest>, start = new RequestStart('model:80')) =>
  requestHead(request(more), start);

describe('the head of a request', () => {
  test('has its host, the shared headers, its own, and its length', () => {
    const common = new CommonHeaders(['accept', '*/*']);
    expect(head({ common, headers: ['x-request-id', 'r'], body: Buffer.from('1234') })).toBe(
      'POST /v1/completions HTTP/1.1\r\nhost: model:80\r\naccept: */*\r\nx-request-id: r\r\ncontent-length: 4\r\n\r\n',
    );
  });

  test.each<[string, Partial<UpstreamRequest>]>([
    ['a path of no slash', { path: 'v1' }],
    ['a whole address as the path', { path: 'http://elsewhere.example/' }],
    ['an empty path', { path: '' }],
    ['a space in the path', { path: '/a b' }],
    ['a line feed in the path', { path: '/a\nb' }],
    ['a line feed behind the path', { path: '/a\n' }],
    ['a delete in the path', { path: '/a\x7f' }],
    ['a path whose low byte is a line feed', { path: '/a\u010ab' }],
    ['no method', { method: '' }],
    ['neither method nor path', { method: '', path: '' }],
    ['a method of two words', { method: 'GET /x' }],
    ['a line break in a value', { headers: ['x', 'a\r\nx-evil: 1'] }],
    ['a line break in a shared value', { common: new CommonHeaders(['x', 'a\r\nx-evil: 1']) }],
    ['a line feed in a value', { headers: ['x', 'a\nb'] }],
    ['a line feed behind a value', { headers: ['x', 'a\n'] }],
    ['a null in a value', { headers: ['x', 'a\0b'] }],
    ['a value whose low byte is a line feed', { headers: ['x', 'a\u010ab'] }],
    ['a line feed in a name', { headers: ['x\n', 'a'] }],
    ['a colon in a name', { headers: ['x: y', 'a'] }],
    ['no name', { headers: ['', 'a'] }],
  ])('%s makes none, whatever was sent before', (_what, bad) => {
    const start = new RequestStart('model:80');
    expect(head(bad, start)).toBeNull();
    for (let time = 0; time < 3; time += 1) expect(head({}, start)).not.toBeNull();
    expect(head(bad, start)).toBeNull();
    expect(head({}, start)).not.toBeNull();
  });

  test('tabs, and bytes beyond ASCII, may be in values', () => {
    expect(head({ headers: ['x', 'a\t\xe9\x80'] })).toContain('x: a\t\xe9\x80\r\n');
  });

  test('begins as its own method and path say, in whatever order they come', () => {
    const start = fc.record({
      method: fc.constantFrom('GET', 'POST', 'P T', ''),
      path: fc.constantFrom('/', '/a', '/a\r', '/b?c=d', ''),
    });
    fc.assert(
      fc.property(fc.array(start, { maxLength: 30 }), (asked) => {
        const shared = new RequestStart('h');
        for (const each of asked) expect(head(each, shared)).toBe(head(each, new RequestStart('h')));
      }),
    );
  });
});
