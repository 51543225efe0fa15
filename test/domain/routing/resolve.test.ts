import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { findScope, resolve } from '../../../domain/routing/resolve.ts';
import { compileRoutes } from '../../../domain/routing/routes.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';

const load = () => ({ inFlight: 0, skipUntilMs: 0, inFlightMax: Infinity });
const routes = compileRoutes(
  table([
    service('iris', { hosts: ['iris-default.example.com'] }),
    service('llm', { models: ['llm', 'adapter', 'shared'] }),
    service('other', { models: ['other', 'shared'] }),
    service('iris', { namespace: 'team', hosts: ['iris-team.example.com'] }),
    service('remote', { namespace: 'team', models: ['remote', 'org/model'] }),
  ]),
  load,
);

interface Row {
  readonly name: string;
  readonly host?: string;
  readonly prefix?: string;
  readonly namespace?: string;
  readonly model: string | null;
  readonly found?: string;
  readonly kind?: string;
  readonly candidates?: readonly string[];
}

const rows: Row[] = [
  { name: 'a name in the default namespace', model: 'iris', found: 'default/iris' },
  { name: 'an alias or adapter', model: 'adapter', found: 'default/llm' },
  { name: 'namespace/name', model: 'team/iris', found: 'team/iris' },
  { name: 'namespace/alias', model: 'team/org/model', found: 'team/remote' },
  { name: 'the header', namespace: 'team', model: 'iris', found: 'team/iris' },
  { name: 'a model with a slash', namespace: 'team', model: 'org/model', found: 'team/remote' },
  { name: 'the host', host: 'IRIS-team.example.com:8080', model: 'iris', found: 'team/iris' },
  { name: 'the host with a root dot', host: 'iris-team.example.com.', model: null, found: 'team/iris' },
  {
    name: 'the host before the header',
    host: 'iris-team.example.com',
    namespace: 'default',
    model: 'iris',
    found: 'team/iris',
  },
  { name: 'the path prefix without a model', prefix: 'default/llm', model: null, found: 'default/llm' },
  {
    name: 'the path prefix before the header',
    prefix: 'default/iris',
    namespace: 'team',
    model: 'iris',
    found: 'default/iris',
  },
  { name: 'an unknown host is no scope', host: 'localhost:8080', model: 'iris', found: 'default/iris' },
  {
    name: 'a name that two services claim',
    model: 'shared',
    kind: 'ambiguous',
    candidates: ['default/llm', 'default/other'],
  },
  { name: 'an unknown name', model: 'nope', kind: 'unknown', candidates: [] },
  { name: 'a name of another namespace', model: 'remote', kind: 'unknown', candidates: ['team/remote'] },
  { name: 'no model where nothing names a service', model: null, kind: 'no-model' },
  {
    name: 'a model that the named service does not have',
    prefix: 'default/iris',
    model: 'llm',
    kind: 'unknown',
    candidates: ['iris'],
  },
  { name: 'a prefix of no service', prefix: 'default/nope', model: null, kind: 'unknown' },
  {
    name: "another service's prefix under a host",
    host: 'iris-team.example.com',
    prefix: 'default/llm',
    model: null,
    kind: 'unknown',
  },
];

describe('how a request finds its service', () => {
  test.each(rows)('$name', ({ host, prefix, namespace, model, found, kind, candidates }) => {
    const [ns, name] = prefix?.split('/') ?? [];
    const scope = findScope(routes, {
      host: host ?? null,
      prefix: ns !== undefined && name !== undefined ? { namespace: ns, name } : null,
      namespace: namespace ?? null,
    });
    const resolution = resolve(routes, scope, model);
    expect(resolution.kind).toBe(kind ?? 'found');
    if (resolution.kind === 'found') expect(resolution.service.key).toBe(found);
    if (candidates !== undefined) expect(resolution).toMatchObject({ candidates });
  });

  test('whatever is said, the answer serves that name or names nothing', () => {
    const name = fc.constantFrom(
      'iris',
      'llm',
      'shared',
      'team/iris',
      'default/llm',
      '__proto__',
      'constructor',
      '',
      '/',
      'team/',
    );
    fc.assert(
      fc.property(name, fc.option(fc.constantFrom('team', 'default', 'none')), (model, namespace) => {
        const scope = findScope(routes, { host: null, prefix: null, namespace });
        const resolution = resolve(routes, scope, model);
        if (resolution.kind !== 'found') return;
        const { models, namespace: own } = resolution.service.route;
        expect([...models, ...models.map((m) => `${own}/${m}`)]).toContain(model);
      }),
    );
  });
});
