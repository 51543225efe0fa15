import { describe, expect, test } from '@jest/globals';
import { observed, sendable } from '../../../control/store/database.ts';
import { storeFailure } from '../../../control/store/failure.ts';
import { MusterError } from '../../../domain/errors.ts';

const withCode = (message: string, code: string, severity?: string) =>
  Object.assign(new Error(message), { code, ...(severity === undefined ? {} : { severity }) });

describe('storeFailure', () => {
  test.each([
    [
      'a full disk, as Postgres says it',
      withCode('could not extend file', '53100', 'ERROR'),
      'disk_full',
      false,
    ],
    ['a full disk, as Node says it', withCode('write failed', 'ENOSPC'), 'disk_full', false],
    ['a full disk that stopped the log', withCode('could not write', '53100', 'PANIC'), 'disk_full', true],
    ['a server that is away', withCode('connect ECONNREFUSED', 'ECONNREFUSED'), 'internal', false],
    ['a server that is going', withCode('terminating connection', '57P01', 'FATAL'), 'internal', false],
    ['a statement that is wrong', withCode('relation does not exist', '42P01', 'ERROR'), 'internal', false],
    ['an engine that broke', new Error('unreachable'), 'internal', true],
    ['our own refusal', new MusterError('conflict', 'no'), 'conflict', false],
    ['something that is no error', 'text', 'internal', true],
  ])('%s', (_case, cause, code, fatal) => {
    const failure = storeFailure(cause);
    expect(failure.error.code).toBe(code);
    expect(failure.fatal).toBe(fatal);
  });
});

test('each call is timed and its failure translated', async () => {
  const seen: string[] = [];
  const database = observed(
    {
      query: () => Promise.reject(new Error('raw')),
      transaction: (work) => work({ query: () => Promise.resolve([]) }),
      close: () => Promise.resolve(),
    },
    (operation, seconds) => {
      seen.push(`${operation} ${seconds >= 0 ? 'timed' : ''}`);
    },
    () => new Error('translated'),
  );
  await expect(database.query('SELECT 1')).rejects.toThrow('translated');
  expect(await database.transaction(() => Promise.resolve(7))).toBe(7);
  await database.close();
  expect(seen).toEqual(['query timed', 'transaction timed']);
});

test('a NUL in a value is shown, not sent', () => {
  expect(sendable(['a\0b', 1, null])).toEqual(['a\ufffdb', 1, null]);
  expect(sendable()).toEqual([]);
});
