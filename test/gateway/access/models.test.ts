import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { newKey, useAccess } from '../../fixtures/access/keys.ts';
import { echo, refusingAddress, startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';

let backend: Backend;
let gateway: TestGateway;
beforeEach(async () => {
  backend = await startBackend(echo);
  gateway = await startTestGateway();
});
afterEach(async () => {
  await gateway.close();
  await backend.close();
});

const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

describe('models that a key may use', () => {
  const [mine, all] = [newKey({ models: ['default/tiny', 'team/*'] }), newKey()];
  beforeEach(() => {
    const ready = [backend.address];
    useAccess(
      gateway,
      [
        service('tiny', { ready, models: ['tiny', 'small'] }),
        service('secret', { ready, hosts: ['secret.example.com'] }),
        service('iris', { namespace: 'team', ready }),
        service('iris', { namespace: 'other', ready }),
      ],
      { mode: 'required', keys: [mine.record, all.record] },
    );
  });
  const ids = async (path: string, headers: Record<string, string>) => {
    const { body } = await get(`${gateway.url}${path}`, headers);
    return (body as { data: { id: string }[] }).data.map(({ id }) => id);
  };

  test('are all that lists show', async () => {
    expect(await ids('/v1/models', bearer(mine.key))).toEqual(['small', 'team/iris', 'tiny']);
    expect(await ids('/v1/models', bearer(all.key))).toEqual([
      'other/iris',
      'secret',
      'small',
      'team/iris',
      'tiny',
    ]);
    expect((await get(`${gateway.url}/v2/models`, bearer(mine.key))).body).toEqual({
      models: ['small', 'team/iris', 'tiny'],
    });
    const index = await postJson(`${gateway.url}/v2/repository/index`, '', bearer(mine.key));
    expect((index.body as { name: string }[]).map(({ name }) => name)).toEqual([
      'small',
      'team/iris',
      'tiny',
    ]);
    expect(await ids('/serving/team/iris/v1/models', bearer(mine.key))).toEqual(['iris']);
    for (const path of ['/serving/default/secret/v1/models', '/serving/default/nothing/v1/models'])
      expect((await get(`${gateway.url}${path}`, bearer(mine.key))).status).toBe(403);
  });

  test('a hidden one and one that does not exist are refused in the same words', async () => {
    const asking = async (model: string, path = '/v1/chat/completions') => {
      const answer = await postJson(`${gateway.url}${path}`, { model }, bearer(mine.key));
      return [answer.status, answer.text.replaceAll(model, 'M')];
    };
    const refused = await asking('secret');
    expect(refused[0]).toBe(403);
    expect(refused[1]).toContain('permission_denied');
    expect(await asking('nothing')).toEqual(refused);
    for (const path of ['/v1/models/M:predict', '/v2/models/M/infer']) {
      const [hidden, none] = [path.replace('M', 'secret'), path.replace('M', 'nothing')];
      expect(await asking('secret', hidden)).toEqual(await asking('nothing', none));
      expect((await asking('secret', hidden))[0]).toBe(403);
    }
    const read = async (name: string) => {
      const answer = await get(`${gateway.url}/v1/models/${name}`, bearer(mine.key));
      return [answer.status, answer.text.replaceAll(name, 'M')];
    };
    expect(await read('secret')).toEqual(await read('nothing'));
    expect(backend.seen).toEqual([]);
  });

  test('who may use all is told of what is not there, with what was meant', async () => {
    const answer = await postJson(`${gateway.url}/v1/completions`, { model: 'iris' }, bearer(all.key));
    expect(answer.status).toBe(404);
    expect(answer.text).toContain("Did you mean 'other/iris' or 'team/iris'?");
  });

  test.each([
    ['a doubled name', '{"model":"secret","model":"tiny"}'],
    ['a doubled name, once with an escape', '{"mod\\u0065l":"secret","model":"tiny"}'],
  ])('one that is named beside a permitted one is not told to the server: %s', async (_name, body) => {
    const before = backend.seen.length;
    const headers = { ...bearer(mine.key), 'content-type': 'application/json' };
    const answer = await fetch(`${gateway.url}/v1/chat/completions`, { method: 'POST', headers, body });
    expect(answer.status).toBe(200);
    expect(backend.seen[before]?.body.toString()).not.toContain('secret');
  });

  test('one that a form hides behind blanks is found, and refused', async () => {
    const part = (name: string, value: string) =>
      `--b\r\ncontent-disposition: form-data; name${name}\r\n\r\n${value}\r\n`;
    const headers = { ...bearer(mine.key), 'content-type': 'multipart/form-data; boundary=b' };
    const ask = async (...parts: string[]) => {
      const body = `${parts.join('')}--b--\r\n`;
      const url = `${gateway.url}/v1/audio/transcriptions`;
      return (await fetch(url, { method: 'POST', headers, body })).status;
    };
    expect(await ask(part('="model"', 'tiny'))).toBe(200);
    expect(await ask(part('="model"', 'tiny'), part(' = "model"', 'secret'))).toBe(403);
    const many = Array<string>(1_000).fill(part('="x"', ''));
    expect(await ask(part('="model"', 'tiny'), ...many, part('="model"', 'secret'))).toBe(400);
  });

  test('two of a name are one for who may see only one of them', async () => {
    useAccess(
      gateway,
      [
        service('a', { ready: [backend.address], models: ['a', 'shared'] }),
        service('b', { ready: [backend.address], models: ['b', 'shared'] }),
      ],
      { mode: 'required', keys: [{ ...mine.record, models: ['default/a'] }, all.record] },
    );
    const asking = (key: string) =>
      postJson(`${gateway.url}/v1/completions`, { model: 'shared' }, bearer(key));
    expect((await asking(mine.key)).status).toBe(200);
    expect((await asking(all.key)).status).toBe(400);
  });

  test('a request under the host of a hidden service is refused, whatever model it names', async () => {
    const { status } = await postJson(
      `${gateway.url}/serving/default/secret/v1/completions`,
      {},
      bearer(mine.key),
    );
    expect(status).toBe(403);
  });
});

describe('where a key looks for names', () => {
  const ready = () => [backend.address];
  const found = async (key: string, headers: Record<string, string> = {}, model = 'm') => {
    const answer = await postJson(`${gateway.url}/v1/completions`, { model }, { ...bearer(key), ...headers });
    return answer.status === 200
      ? (JSON.parse((answer.body as { body: string }).body) as { model: string }).model
      : answer.status;
  };
  const keys = {
    plain: newKey(),
    tenant: newKey({ tenant: 'acme' }),
    stranger: newKey({ tenant: 'nowhere' }),
    own: newKey({ tenant: 'acme', namespace: 'lab' }),
  };
  beforeEach(() => {
    const named = (namespace: string) =>
      service('m', { namespace, ready: ready(), upstreamModel: `of-${namespace}` });
    useAccess(gateway, [named('default'), named('acme'), named('lab')], {
      mode: 'required',
      keys: Object.values(keys).map(({ record }) => record),
    });
  });

  test.each<[string, keyof typeof keys, Record<string, string>, string, string | number]>([
    ['the default namespace, without anything said', 'plain', {}, 'm', 'of-default'],
    ["the tenant's, when there is one of its name", 'tenant', {}, 'm', 'of-acme'],
    ['the default one, for a tenant without', 'stranger', {}, 'm', 'of-default'],
    ["the key's own before the tenant's", 'own', {}, 'm', 'of-lab'],
    ['what the header says, before the key', 'own', { 'x-muster-namespace': 'acme' }, 'm', 'of-acme'],
    ['what the name says, before all', 'own', {}, 'default/m', 'of-default'],
  ])('%s', async (_what, key, headers, model, expected) => {
    expect(await found(keys[key].key, headers, model)).toBe(expected);
  });

  test('its list has its own names bare, and the others with their namespace', async () => {
    const { body } = await get(`${gateway.url}/v1/models`, bearer(keys.tenant.key));
    expect((body as { models: string[] }).models).toEqual(['default/m', 'lab/m', 'm']);
  });
});

describe('whether a model is ready', () => {
  const keys = {
    own: newKey({ namespace: 'lab' }),
    tenant: newKey({ tenant: 'acme' }),
    admin: newKey({ namespace: 'lab', scopes: ['admin'] }),
    few: newKey({ namespace: 'lab', models: ['lab/*'] }),
    expired: newKey({ namespace: 'lab', expiresAt: '2020-01-01T00:00:00Z' }),
  };
  const use = (mode: 'open' | 'required') => {
    const ready = [backend.address];
    const services = [
      service('iris', { namespace: 'lab', ready }),
      service('m', { ready }),
      service('m', { namespace: 'acme', unready: ready }),
    ];
    useAccess(gateway, services, { mode, keys: Object.values(keys).map(({ record }) => record) });
  };
  const ask = async (model: string, headers: Record<string, string> = {}) =>
    (await get(`${gateway.url}/v2/models/${model}/ready`, headers)).status;

  test.each(['open', 'required'] as const)(
    'is told of the model that the key means, mode %s',
    async (mode) => {
      use(mode);
      for (let time = 0; time < 2; time += 1) {
        expect(await ask('iris', bearer(keys.own.key))).toBe(200);
        expect(await ask('m', bearer(keys.tenant.key))).toBe(503);
        expect(await ask('m', { 'x-api-key': keys.tenant.key })).toBe(503);
      }
      expect(gateway.logs).toContainEqual(
        expect.objectContaining({ caller: keys.own.record.id, status: 200 }),
      );
    },
  );

  test.each(['open', 'required'] as const)(
    'is told to anybody as if there were no credential, where that is bad or not for asking, mode %s',
    async (mode) => {
      use(mode);
      const bad = [
        bearer('made-up'),
        bearer(keys.expired.key),
        bearer(keys.admin.key),
        bearer('eyJh.eyJh.AA'),
      ];
      for (const headers of [{}, ...bad, { authorization: 'Basic eA==' }, bearer('x'.repeat(10_000))]) {
        expect(await ask('m', headers)).toBe(200);
        expect(await ask('iris', headers)).toBe(404);
      }
    },
  );

  test.each(['open', 'required'] as const)(
    'is told a key of the models that it may ask, and of nothing else, mode %s',
    async (mode) => {
      use(mode);
      const few = bearer(keys.few.key);
      expect(await ask('iris', few)).toBe(200);
      expect(await ask('lab/iris', few)).toBe(200);
      for (const hidden of ['m', 'default/m', 'acme/m', 'nothing', 'default/nothing'])
        expect([hidden, await ask(hidden, few)]).toEqual([hidden, 403]);
      const server = (name: string) => `${gateway.url}/serving/${name}/v2/health/ready`;
      expect((await get(server('lab/iris'), few)).status).toBe(200);
      expect((await get(server('default/m'), few)).status).toBe(403);
      expect((await get(server('default/m'))).status).toBe(200);
      expect((await get(`${gateway.url}/v2/health/ready`, few)).status).toBe(200);
      expect(backend.seen.map(({ url }) => url)).toEqual(['/v2/models/iris/ready', '/v2/models/iris/ready']);
    },
  );

  test('of several classes is told who may ask the model, or one of them', async () => {
    const ready = [backend.address];
    const asker = (models: string[]) => newKey({ models });
    const askers = [asker(['default/both']), asker(['default/a']), asker(['default/c'])];
    const backends = ['a', 'b'].map((name) => ({ service: `default/${name}`, class: name, pricePerHour: 1 }));
    const policy = {
      access: { mode: 'required', keys: askers.map(({ record }) => record) },
      models: { both: { backends } },
    };
    const services = ['a', 'b', 'c'].map((name) => service(name, { ready }));
    expect(gateway.store.apply({ ...table(services, 9_000), policy }, -1)).toBe(9_000);
    const told = askers.map(({ key }) => ask('both', bearer(key)));
    expect(await Promise.all([...told, ask('both')])).toEqual([200, 200, 403, 200]);
  });

  test('asks no server for who is nobody', async () => {
    use('required');
    expect(await ask('m')).toBe(200);
    expect(await ask('m', bearer(newKey().key))).toBe(200);
    expect(backend.seen).toEqual([]);
    expect(await ask('iris', bearer(keys.own.key))).toBe(200);
    expect(backend.seen.map(({ url }) => url)).toEqual(['/v2/models/iris/ready']);
  });
});

describe('the Authorization header', () => {
  const { key, record } = newKey();
  const seen = async (
    passAuthorization: boolean,
    headers: Record<string, string>,
    mode: 'open' | 'required',
  ) => {
    useAccess(
      gateway,
      [service('tiny', { ready: [backend.address], ...(passAuthorization ? { passAuthorization } : {}) })],
      {
        mode,
        keys: [record],
      },
    );
    await postJson(`${gateway.url}/v1/completions`, { model: 'tiny' }, headers);
    return backend.seen.at(-1)?.headers;
  };

  test.each<[string, boolean, Record<string, string>, 'open' | 'required', string | undefined]>([
    ['stays here', false, { authorization: 'Bearer of-the-caller' }, 'open', undefined],
    [
      'goes on where the service asks for it',
      true,
      { authorization: 'Bearer theirs' },
      'open',
      'Bearer theirs',
    ],
    ['of another scheme, too', true, { authorization: 'Basic eA==' }, 'open', 'Basic eA=='],
    [
      'goes on beside the key',
      true,
      { authorization: 'Bearer theirs', 'x-api-key': key },
      'required',
      'Bearer theirs',
    ],
    ['with the key in it stays here', true, bearer(key), 'required', undefined],
    ['with the key in it stays here, of an open gateway too', true, bearer(key), 'open', undefined],
    ['with a key of old stays here', true, bearer(newKey().key), 'open', undefined],
  ])('%s', async (_what, passes, headers, mode, expected) => {
    const got = await seen(passes, headers, mode);
    expect(got).toBeDefined();
    expect(got?.authorization).toBe(expected);
    expect(got?.['x-api-key']).toBeUndefined();
  });

  test('does not follow a request that falls back to another service', async () => {
    const policy = { resilience: { fallbacks: { 'default/first': ['default/second'] } } };
    const services = [
      service('first', { ready: [await refusingAddress()], passAuthorization: true }),
      service('second', { ready: [backend.address] }),
    ];
    const applied = gateway.store.apply({ version: 9_999, services, policy }, -1);
    expect(applied).toBe(9_999);
    const answer = await postJson(
      `${gateway.url}/v1/completions`,
      { model: 'first' },
      { authorization: 'Bearer theirs' },
    );
    expect(answer.status).toBe(200);
    expect(backend.seen.at(-1)?.headers.authorization).toBeUndefined();
  });
});
