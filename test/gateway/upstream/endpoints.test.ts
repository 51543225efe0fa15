import { expect, test } from '@jest/globals';
import { Endpoints } from '../../../gateway/upstream/endpoints.ts';
import type { Upstream } from '../../../gateway/upstream/upstream.ts';

const address = 'http://a:1';
const listed: ReadonlySet<string> = new Set([address]);
const none: ReadonlySet<string> = new Set();

/** @returns endpoints, and how many of their pools were closed */
function counted(): { endpoints: Endpoints; closed: () => number } {
  let closed = 0;
  const upstream: Upstream = {
    send: () => ({ abort: () => undefined, pause: () => undefined, resume: () => undefined }),
    close: () => {
      closed += 1;
    },
  };
  return { endpoints: new Endpoints(() => upstream), closed: () => closed };
}

test('an address that leaves the table is kept until its last request ends', () => {
  const { endpoints, closed } = counted();
  const one = endpoints.bind(address);
  endpoints.list(listed);
  endpoints.begin(one);
  endpoints.list(none);
  expect([endpoints.draining(), one.isGone, closed()]).toEqual([{ [address]: 1 }, false, 0]);
  endpoints.end(one);
  expect([endpoints.draining(), one.isGone, closed()]).toEqual([{}, true, 1]);
});

test('a late request to an address that was gone takes nothing from the one that came back', () => {
  const { endpoints, closed } = counted();
  const gone = endpoints.bind(address);
  endpoints.list(none);
  endpoints.begin(gone); // by the table from before
  const back = endpoints.bind(address);
  endpoints.list(listed);
  endpoints.begin(back);
  endpoints.end(gone);
  expect(endpoints.bind(address)).toBe(back);
  expect([back.isGone, closed()]).toEqual([false, 1]);
  endpoints.list(none);
  expect(endpoints.draining()).toEqual({ [address]: 1 });
});
