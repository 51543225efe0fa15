import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import { RouteTable } from '../../../domain/route-table/route-table.schema.ts';
import { RoutesFile } from '../../../domain/route-table/routes-file.schema.ts';
import { tableFromFile } from '../../../domain/route-table/routes-file.ts';
import { compileRoutes } from '../../../domain/routing/routes.ts';

const endpoint = 'http://127.0.0.1:9000';
const readFile = (value: unknown) => tableFromFile(RoutesFile.parse(value), 7);

describe('a routes file', () => {
  test('needs a name and servers, and has a default for all else', () => {
    const { version, services } = readFile({ services: [{ name: 'm', endpoints: [endpoint] }] });
    expect(version).toBe(7);
    expect(services).toEqual([
      {
        namespace: 'default',
        name: 'm',
        generation: 1,
        hosts: [],
        models: ['m'],
        upstreamModel: 'm',
        protocols: ['openai', 'v1', 'v2'],
        timeoutMs: null,
        state: 'Serving',
        message: '',
        createdAt: '1970-01-01T00:00:00Z',
        targets: [
          {
            revision: 'm-file',
            percent: 100,
            endpoints: [{ address: endpoint, revision: 'm-file', ready: true }],
          },
        ],
      },
    ]);
  });

  test('lets a server be described further', () => {
    const [service] = readFile({
      services: [{ name: 'm', endpoints: [{ address: endpoint, ready: false, revision: 'r' }] }],
    }).services;
    expect(service?.targets[0]?.endpoints).toEqual([{ address: endpoint, ready: false, revision: 'r' }]);
  });

  test('calls the model upstream by its first name unless it says otherwise', () => {
    const named = { name: 'm', models: ['a', 'b'], endpoints: [endpoint] };
    expect(readFile({ services: [named] }).services[0]?.upstreamModel).toBe('a');
    const told = { ...named, upstreamModel: 'c' };
    expect(readFile({ services: [told] }).services[0]?.upstreamModel).toBe('c');
  });

  test('keeps its own version and policy', () => {
    const file = { version: 3, services: [], policy: { access: { mode: 'required' } } };
    const table = readFile(file);
    expect(table.version).toBe(3);
    expect(table.policy?.access.mode).toBe('required');
  });

  test.each([
    [
      'an address with a path',
      { services: [{ name: 'm', endpoints: [`${endpoint}/v1`] }] },
      'services.0.endpoints.0.address',
    ],
    [
      'an address that is a number',
      { services: [{ name: 'm', endpoints: [9000] }] },
      'services.0.endpoints.0',
    ],
    ['a service without a name', { services: [{ endpoints: [endpoint] }] }, 'services.0.name'],
    ['an empty name', { services: [{ name: '', endpoints: [endpoint] }] }, 'services.0.name'],
    [
      'both servers and targets',
      { services: [{ name: 'm', endpoints: [], targets: [] }] },
      'services.0.endpoints',
    ],
    ['no services', {}, 'services'],
    ['a slip in a field of a service', { services: [{ name: 'm', endpoint: endpoint }] }, 'services.0'],
    ['a slip in a section', { services: [], policy: { acess: {} } }, 'policy'],
    [
      'a key that is no hash',
      { services: [], policy: { access: { keys: [{ id: 'k', sha256: 'x' }] } } },
      'policy.access.keys.0.sha256',
    ],
    ['nothing', null, ''],
  ])('is refused with the place for %s', (_what, file, at) => {
    const parsed = RoutesFile.safeParse(file);
    expect(parsed.success).toBe(false);
    expect(parsed.error?.issues[0]?.path.join('.')).toBe(at);
  });

  test('may be a whole table as the control API sends it, and means the same', () => {
    const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,12}$/);
    const address = fc.integer({ min: 1, max: 65_535 }).map((port) => `http://10.0.0.1:${port}`);
    const service = fc.record({
      namespace: name,
      name,
      generation: fc.nat(),
      hosts: fc.array(name),
      models: fc.array(name, { minLength: 1 }),
      upstreamModel: name,
      protocols: fc.subarray(['v1', 'v2', 'openai'] as const),
      timeoutMs: fc.option(fc.integer({ min: 1, max: 1e6 })),
      state: fc.constantFrom('Serving', 'Loading', 'Failed', 'Stopped'),
      message: fc.string(),
      createdAt: fc.constant('2026-01-01T00:00:00Z'),
      targets: fc.array(
        fc.record({
          revision: name,
          percent: fc.integer({ min: 0, max: 100 }),
          endpoints: fc.array(fc.record({ address, revision: name, ready: fc.boolean() })),
        }),
      ),
    });
    const table = fc.record({ version: fc.nat(), services: fc.array(service, { maxLength: 3 }) });
    fc.assert(
      fc.property(table, (given) => {
        expect(tableFromFile(RoutesFile.parse(given), 0)).toEqual(RouteTable.parse(given));
      }),
    );
  });

  test('is always a table that a gateway can use, but for two services of one name', () => {
    const names = fc.uniqueArray(fc.stringMatching(/^[a-z]{1,8}$/), { maxLength: 6 });
    fc.assert(
      fc.property(names, (given) => {
        const table = readFile({ services: given.map((name) => ({ name, endpoints: [endpoint] })) });
        const routes = compileRoutes(RouteTable.parse(table), () => ({
          inFlight: 0,
          skipUntilMs: 0,
          inFlightMax: Infinity,
        }));
        expect(routes.services.every(({ isReady }) => isReady)).toBe(true);
        expect(routes.services).toHaveLength(given.length);
      }),
    );
  });
});
