import { describe, expect, test } from '@jest/globals';
import { indexEntry, listModels, modelObject, unreadyReason } from '../../../domain/routing/listing.ts';
import { findScope, resolve } from '../../../domain/routing/resolve.ts';
import { compileRoutes } from '../../../domain/routing/routes.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';

const routes = compileRoutes(
  table([
    service('iris', { ready: ['http://a:1'], protocols: ['v1', 'v2'], models: ['iris', 'flowers'] }),
    service('chat', { ready: ['http://a:2'], protocols: ['openai'], models: ['chat', 'shared'] }),
    service('other', { models: ['other', 'shared'], state: 'Stopped' }),
    service('iris', { namespace: 'team', ready: ['http://a:3'] }),
  ]),
  () => ({ inFlight: 0, skipUntilMs: 0, inFlightMax: Infinity }),
);
const scope = (namespace: string | null, prefix: { namespace: string; name: string } | null = null) =>
  findScope(routes, { host: null, prefix, namespace });

describe('lists of models', () => {
  test.each([
    ['nothing said', null, ['chat', 'flowers', 'iris', 'other', 'team/iris']],
    ['the default namespace said', 'default', ['chat', 'flowers', 'iris', 'other']],
    ['another namespace said', 'team', ['iris']],
    ['an unknown namespace said', 'nowhere', []],
  ])('with %s', (_what, namespace, expected) => {
    expect(listModels(routes, scope(namespace)).map(({ id }) => id)).toEqual(expected);
  });

  test('under a service hold its names alone, and by protocol those that speak it', () => {
    const own = scope(null, { namespace: 'default', name: 'iris' });
    expect(listModels(routes, own).map(({ id }) => id)).toEqual(['flowers', 'iris']);
    expect(listModels(routes, scope('default'), 'v2').map(({ id }) => id)).toEqual([
      'flowers',
      'iris',
      'other',
    ]);
  });

  test.each([null, 'default', 'team'])(
    'hold names that a request of the same scope finds (%s)',
    (namespace) => {
      for (const { id, service: listed } of listModels(routes, scope(namespace))) {
        expect(resolve(routes, scope(namespace), id)).toEqual({ kind: 'found', service: listed });
      }
    },
  );

  test('describe a model for OpenAI and V1 at once, and for the repository index', () => {
    const [chat, other] = listModels(routes, scope('default')).filter(({ id }) =>
      ['chat', 'other'].includes(id),
    );
    expect(modelObject('chat', chat!.service)).toEqual({
      id: 'chat',
      object: 'model',
      created: 1767323045,
      owned_by: 'default',
      name: 'chat',
      ready: true,
    });
    expect(indexEntry(other!)).toEqual({
      name: 'other',
      version: '1',
      state: 'UNAVAILABLE',
      reason: 'The service is stopped',
    });
  });

  test.each([
    ['Failed', '', 'The service failed'],
    ['Loading', '', 'The service is loading'],
    ['Serving', '', 'No replica is ready'],
    ['Loading', 'fetching 3 MB', 'fetching 3 MB'],
  ] as const)('say why one is not ready: %s %j', (state, message, reason) => {
    const compiled = compileRoutes(table([service('x', { state, message })]), () => ({
      inFlight: 0,
      skipUntilMs: 0,
      inFlightMax: Infinity,
    }));
    expect(unreadyReason(compiled.services[0]!)).toBe(reason);
  });
});
