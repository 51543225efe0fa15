import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { maySee } from '../../../domain/access/may.ts';
import { listModels } from '../../../domain/routing/listing.ts';
import { findScope, resolve } from '../../../domain/routing/resolve.ts';
import type { RequestNames } from '../../../domain/routing/resolve.ts';
import { compileRoutes } from '../../../domain/routing/routes.ts';
import type { Routes } from '../../../domain/routing/routes.ts';
import type { ServiceRoute } from '../../../domain/route-table/route-table.schema.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';

/**
 * What a caller gets does not depend on what it may not see: every answer over the whole table is the answer over a
 * table in which the hidden services are not there at all.
 */
const names = ['a', 'b', 'c'];
const namespaces = ['default', 'team', 'x'];
const load = () => ({ inFlight: 0, skipUntilMs: 0, inFlightMax: Infinity });

const route = fc
  .record({
    namespace: fc.constantFrom(...namespaces),
    name: fc.constantFrom(...names),
    aliases: fc.subarray([...names, 'shared', 'team/a']),
  })
  .map(({ namespace, name, aliases }) =>
    service(name, { namespace, models: [...new Set([name, ...aliases])] }),
  );
const services = fc.uniqueArray(route, {
  maxLength: 9,
  selector: ({ namespace, name }) => `${namespace}/${name}`,
});
const pattern = fc.oneof(
  fc.constantFrom(...namespaces).map((namespace) => `${namespace}/*`),
  fc.tuple(fc.constantFrom(...namespaces), fc.constantFrom(...names)).map((parts) => parts.join('/')),
);
const viewer = fc.array(pattern, { maxLength: 3 }).map((models) => ({ models }));
const asked: fc.Arbitrary<RequestNames> = fc
  .tuple(
    fc.option(fc.tuple(fc.constantFrom(...namespaces), fc.constantFrom(...names)), { freq: 3, nil: null }),
    fc.option(fc.constantFrom(...namespaces), { nil: null }),
    fc.option(fc.constantFrom(...namespaces), { nil: null }),
  )
  .map(([prefix, namespace, home]) => ({
    host: null,
    prefix: prefix === null ? null : { namespace: prefix[0], name: prefix[1] },
    namespace,
    home,
  }));
const model = fc.option(
  fc.oneof(
    fc.constantFrom(...names, 'shared', 'nothing'),
    fc
      .tuple(fc.constantFrom(...namespaces), fc.constantFrom(...names, 'nothing'))
      .map((parts) => parts.join('/')),
  ),
);

const hidden = (all: readonly ServiceRoute[], models: readonly string[]): ServiceRoute[] =>
  all.filter(({ namespace, name }) => maySee({ models }, { key: `${namespace}/${name}` }));
const routesOf = (list: ServiceRoute[]): Routes => compileRoutes(table(list), load);

describe('a caller never sees a model that it may not ask', () => {
  test('a name resolves as if hidden services were not there', () => {
    fc.assert(
      fc.property(services, viewer, asked, model, (all, who, said, name) => {
        const [whole, part] = [routesOf(all), routesOf(hidden(all, who.models))];
        const outcome = (routes: Routes): unknown => {
          const found = resolve(routes, findScope(routes, said), name, who);
          return found.kind === 'found' ? { kind: 'found', key: found.service.key } : found;
        };
        const seen = outcome(whole);
        expect(seen).toEqual(outcome(part));
        if ((seen as { kind: string }).kind === 'found')
          expect(maySee(who, { key: (seen as { key: string }).key })).toBe(true);
        for (const key of (seen as { candidates?: string[] }).candidates ?? []) {
          // Within a service its own names are offered; anywhere else `namespace/name` of services.
          if (whole.byKey.has(key) && said.prefix === null) expect(maySee(who, { key })).toBe(true);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test('lists hold the same as if hidden services were not there, and nothing that resolves to nothing', () => {
    fc.assert(
      fc.property(services, viewer, asked, (all, who, said) => {
        const [whole, part] = [routesOf(all), routesOf(hidden(all, who.models))];
        const listed = (routes: Routes) => {
          const scope = findScope(routes, said);
          // A hidden service under a prefix is refused before anything is listed.
          if (scope.kind !== 'namespace' && resolve(routes, scope, null, who).kind !== 'found') return [];
          return listModels(routes, scope, undefined, who).map(({ id }) => id);
        };
        const ids = listed(whole);
        expect(ids).toEqual(listed(part));
        for (const id of ids) {
          const outcome = resolve(whole, findScope(whole, said), id, who);
          // A model whose own name looks like another's namespace/name may be claimed twice.
          if (!id.slice(id.indexOf('/') + 1).includes('/') && id !== 'team/a')
            expect(outcome).toMatchObject({ kind: 'found' });
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test.each([
    ['its own', ['team/a'], 'team/a', 'found'],
    ['a hidden one', ['team/a'], 'team/b', 'forbidden'],
    ['one that is not there', ['team/a'], 'team/c', 'forbidden'],
    ['one that is not there, in a namespace that it sees', ['team/*', 'default/*'], 'team/c', 'unknown'],
    ['one of another namespace', ['team/*'], 'a', 'forbidden'],
    ['one that is not there, seeing all of everything', ['*'], 'nothing', 'unknown'],
    ['any, seeing nothing', [], 'a', 'forbidden'],
  ])('%s: models %j, asking for %s: %s', (_what, models, name, kind) => {
    const routes = routesOf([
      service('a'),
      service('a', { namespace: 'team' }),
      service('b', { namespace: 'team' }),
    ]);
    const scope = findScope(routes, { host: null, prefix: null, namespace: null });
    expect(resolve(routes, scope, name, { models })).toMatchObject({ kind });
  });

  test("a service's host that the caller may not use names no other service", () => {
    const routes = routesOf([service('a', { namespace: 'team', hosts: ['a.example.com'] }), service('a')]);
    const scope = findScope(routes, { host: 'a.example.com', prefix: null, namespace: null });
    expect(resolve(routes, scope, 'a', { models: ['default/*'] })).toEqual({
      kind: 'forbidden',
      model: 'a.example.com',
    });
  });
});
