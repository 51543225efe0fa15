import { describe, expect, test } from '@jest/globals';
import type { Fields } from '../../../gateway/grpc/schema.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { GrpcFront, raw } from '../../fixtures/grpc/grpc-front.ts';
import { identity } from '../../fixtures/grpc/servers.ts';

const front = new GrpcFront();

describe('the stream of inference.GRPCInferenceService', () => {
  test('answers in the order of the requests, and tells an error in its place', async () => {
    let held: (() => void) | null = null;
    front.respond = (seen, response) => {
      const answer = () => {
        identity(seen, response);
      };
      if (seen.body.toString().includes('"id":"a"')) held = answer;
      else {
        answer();
        held?.();
      }
    };
    await front.startM();
    const stream = front.client.stream();
    const answers: Fields[] = [];
    stream.on('data', (answer: Fields) => answers.push(answer));
    const ended = new Promise((resolve) => stream.on('end', resolve));
    stream.write(raw('a'));
    stream.write({ ...raw('b'), model_name: 'none' });
    stream.write(raw('c'));
    stream.end();
    await ended;
    expect(answers.map(({ infer_response }) => (infer_response as Fields)['id'])).toEqual(['a', 'b', 'c']);
    expect(answers.map(({ error_message }) => error_message !== '')).toEqual([false, true, false]);
  });

  test('reads no more requests than it may work on', async () => {
    const waiting: (() => void)[] = [];
    front.respond = (seen, response) => {
      waiting.push(() => {
        identity(seen, response);
      });
    };
    await front.start([service('m', { ready: [front.backend.address] })], { grpcStreamWidth: 3 });
    const stream = front.client.stream();
    let count = 0;
    stream.on('data', () => (count += 1));
    const ended = new Promise((resolve) => stream.on('end', resolve));
    for (let at = 0; at < 20; at += 1) stream.write(raw(String(at)));
    stream.end();
    await until(() => waiting.length === 3);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(waiting).toHaveLength(3);
    front.respond = identity;
    for (const answer of waiting) answer();
    await ended;
    expect(count).toBe(20);
  });

  test('gives its requests up when the caller leaves', async () => {
    let gone = 0;
    front.respond = (_seen, response) => {
      response.on('close', () => (gone += 1));
    };
    await front.startM();
    const stream = front.client.stream();
    stream.on('error', () => undefined);
    stream.write(raw('a'));
    stream.write(raw('b'));
    await until(() => front.backend.seen.length === 2);
    stream.cancel();
    await until(() => gone === 2);
  });
});
