import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { pino } from 'pino';
import type { Usage } from '../../../domain/usage/usage.ts';
import { AccessLog } from '../../../gateway/observe/access-log.ts';
import type { Passage } from '../../../gateway/passage.ts';
import { until } from '../../fixtures/gateway/control-api.ts';

/** What a line says of its request; the passage is made from it. */
interface Facts {
  requestId: string;
  method: string;
  path: string;
  bytes: number;
  protocol: string;
  model: string;
  caller: string | null;
  tenant: string;
  namespace: string | null;
  service: string;
  revision: string | null;
  endpoint: string;
  tries: number;
  cache: string | null;
  refused: string | null;
  usage: Usage | null;
  costMicros: number;
  isUsageEstimated: boolean;
  isCut: boolean;
}

function passageOf(facts: Facts): Passage {
  const { requestId, method, path, bytes, protocol, model, tries, refused, isCut } = facts;
  const made = {
    requestId,
    exchange: { method, path, bytes },
    operation: { protocol },
    model,
    caller: facts.caller === null ? null : { id: facts.caller, tenant: facts.tenant },
    service: facts.namespace === null ? null : { route: { namespace: facts.namespace, name: facts.service } },
    candidate: facts.revision === null ? null : { revision: facts.revision, address: facts.endpoint },
    tries,
    cache: facts.cache === null ? null : { result: facts.cache },
    refused,
    usage: facts.usage,
    costMicros: facts.costMicros,
    isUsageEstimated: facts.isUsageEstimated,
    isCut,
  };
  return made as unknown as Passage;
}

/** The same line by pino itself: what it would be if it were not put together by hand. */
function plainLine(facts: Facts, status: number, ms: number, isWhole: boolean): object {
  return {
    requestId: facts.requestId,
    method: facts.method,
    path: facts.path.slice(0, 512),
    status,
    bytes: facts.bytes,
    ms: Math.round(ms * 1000) / 1000,
    protocol: facts.protocol,
    model: facts.model.slice(0, 256),
    caller: facts.caller ?? '',
    tenant: facts.caller === null ? '' : facts.tenant,
    namespace: facts.namespace ?? '',
    service: facts.namespace === null ? '' : facts.service,
    revision: facts.revision ?? '',
    endpoint: facts.revision === null ? '' : facts.endpoint,
    tries: facts.tries,
    ...(facts.cache === null ? {} : { cache: facts.cache }),
    ...(facts.refused === null ? {} : { refused: facts.refused }),
    ...(facts.usage ?? {}),
    ...(facts.costMicros > 0 ? { costMicros: facts.costMicros } : {}),
    ...(facts.usage !== null && facts.isUsageEstimated ? { isUsageEstimated: true } : {}),
    ...(isWhole && !facts.isCut ? {} : { isWhole: false }),
  };
}

const words = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 700 }),
  fc.string({ maxLength: 20 }),
  fc.constantFrom('a"b', 'a\\b', 'a\nb', '\u0000', '\ud800', '\udc00x', 'é', '😀', '\u2028', '__proto__'),
);
const facts: fc.Arbitrary<Facts> = fc.record({
  requestId: words,
  method: words,
  path: words,
  bytes: fc.nat(),
  protocol: fc.constantFrom('openai', 'v1', 'v2'),
  model: words,
  caller: fc.option(words),
  tenant: words,
  namespace: fc.option(words),
  service: words,
  revision: fc.option(words),
  endpoint: words,
  tries: fc.nat(9),
  cache: fc.option(fc.constantFrom('hit', 'miss')),
  refused: fc.option(fc.constantFrom('gateway_busy', 'model_not_ready')),
  usage: fc.option(fc.record({ inputTokens: fc.nat(), cachedInputTokens: fc.nat(), outputTokens: fc.nat() })),
  costMicros: fc.integer({ min: -1, max: 1_000_000 }),
  isUsageEstimated: fc.boolean(),
  isCut: fc.boolean(),
});
const some: Facts = {
  requestId: 'r-1',
  method: 'POST',
  path: '/v1/chat/completions',
  bytes: 3,
  protocol: 'openai',
  model: 'm',
  caller: null,
  tenant: '',
  namespace: 'default',
  service: 'm',
  revision: 'r',
  endpoint: 'http://a:1',
  tries: 1,
  cache: null,
  refused: null,
  usage: null,
  costMicros: -1,
  isUsageEstimated: false,
  isCut: false,
};

function logs(options: object = { level: 'info' }) {
  const lines: string[] = [];
  const logger = pino(options, { write: (line: string) => void lines.push(line) });
  return { lines, logger, log: new AccessLog(logger, () => 1_700_000_000_000) };
}

describe('the access log', () => {
  test('each line says what the process’s logger would say, in the same order', () => {
    const times = fc.double({ min: 0, max: 1e7, noNaN: true });
    fc.assert(
      fc.property(
        facts,
        fc.integer({ min: 200, max: 599 }),
        times,
        fc.boolean(),
        (given, status, ms, isWhole) => {
          const { lines, logger, log } = logs({ level: 'info', base: { process: 'gateway', worker: 3 } });
          log.write(passageOf(given), status, ms, isWhole);
          logger.info(plainLine(given, status, ms, isWhole), 'request');
          const [ours, theirs] = lines.map((line) => {
            expect(line.endsWith('}\n') && line.indexOf('\n') === line.length - 1).toBe(true);
            return JSON.parse(line) as Record<string, unknown>;
          });
          theirs!['time'] = 1_700_000_000_000;
          expect(ours).toEqual(theirs);
          expect(Object.keys(ours!)).toEqual(Object.keys(theirs!));
        },
      ),
      { numRuns: 500 },
    );
  });

  test('is silent where the level says so', () => {
    const { lines, log } = logs({ level: 'warn' });
    log.write(passageOf(some), 200, 1, true);
    log.apply({ sample: 1 });
    log.write(passageOf(some), 500, 1, true);
    expect(lines).toEqual([]);
  });

  test('with a sample, that share of good answers is written, evenly, and all that went wrong', () => {
    const { lines, log } = logs();
    log.apply({ sample: 0.25 });
    for (let at = 0; at < 100; at += 1) log.write(passageOf(some), 200, 1, true);
    expect(lines).toHaveLength(25);
    log.write(passageOf(some), 404, 1, true);
    log.write(passageOf(some), 200, 1, false);
    log.write(passageOf({ ...some, isCut: true }), 200, 1, true);
    expect(lines).toHaveLength(28);
    log.apply({ sample: 0 });
    log.write(passageOf(some), 500, 1, true);
    expect(lines).toHaveLength(28);
  });

  test('gathers lines, gives them out whole, and all of them when it is told to stop', async () => {
    const writes: string[] = [];
    const stream = { write: (text: string) => void writes.push(text) };
    const log = new AccessLog(pino({ level: 'info' }, stream), () => 1, 20);
    for (let at = 0; at < 100; at += 1) log.write(passageOf({ ...some, tries: at }), 200, 1, true);
    expect(writes.length).toBeLessThan(5);
    await until(() => writes.join('').split('\n').length === 101);
    log.write(passageOf({ ...some, tries: 100 }), 200, 1, true);
    log.stopGathering();
    log.write(passageOf({ ...some, tries: 101 }), 200, 1, true);
    const lines = writes.join('').split('\n').slice(0, -1);
    expect(lines.map((line) => (JSON.parse(line) as { tries: number }).tries)).toEqual(
      Array.from({ length: 102 }, (_, at) => at),
    );
    expect(writes.every((text) => text.endsWith('\n'))).toBe(true);
  });

  test('counts what a stream drops that nobody reads', () => {
    const writer = pino.destination({ dest: '/dev/null', sync: false, minLength: 16_000, maxLength: 20_000 });
    const log = new AccessLog(pino({ level: 'info' }, writer), Date.now);
    for (let at = 0; at < 200; at += 1) log.write(passageOf(some), 200, 1, true);
    expect(log.dropped).toBeGreaterThan(0);
    expect(log.dropped).toBeLessThan(200);
    writer.end();
  });
});
