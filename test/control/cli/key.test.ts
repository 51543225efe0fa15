import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { keyTable } from '../../../control/cli/commands/key.ts';
import { keyPattern } from '../../../domain/access/key.ts';
import type { CreatedKey, KeyList } from '../../../domain/control/keys.schema.ts';
import { useInstallation } from '../../fixtures/cli/installation.ts';

const { muster, file } = useInstallation({ now: () => Date.now() });
const created = async (...args: string[]) =>
  JSON.parse((await muster('key', 'create', ...args, '-o', 'json')).stdout) as CreatedKey;

describe('muster key', () => {
  test('create prints the key alone, for a script to take, and says beside it that it is the only time', async () => {
    const { code, stdout, stderr } = await muster('key', 'create', 'ann');
    expect(code).toBe(0);
    expect(stdout.trim()).toMatch(keyPattern);
    expect(stderr).toContain('shown this once');
    const list = await muster('key', 'list', '-o', 'json');
    expect(list.stdout).not.toContain(stdout.trim());
    expect((JSON.parse(list.stdout) as KeyList).items).toMatchObject([{ name: 'ann', tier: 'standard' }]);
  });

  test('create takes all that a key may say, and a bare model as one of its namespace', async () => {
    const key = await created(
      ...['ci', '-n', 'team', '--tenant', 'acme', '--tier', 'high', '--home', 'lab', '--expires', '2h'],
      ...['--scope', 'infer', '--scope', 'admin', '--model', 'iris', '--model', 'other/*', '--model', '*'],
    );
    expect(key).toMatchObject({
      ...{ name: 'ci', tenant: 'acme', tier: 'high', namespace: 'lab', scopes: ['infer', 'admin'] },
      models: ['team/iris', 'other/*', '*'],
    });
    expect(Date.parse(key.expiresAt ?? '') - Date.now()).toBeGreaterThan(7_000_000);
  });

  test('list shows what works, with --all what ended; revoke ends it, and a second time is no error', async () => {
    const key = await created('leaver');
    expect((await muster('key', 'list')).stdout).toMatch(new RegExp(`${key.id}\\s+leaver\\s+active`));
    for (let time = 0; time < 2; time += 1)
      expect(await muster('key', 'revoke', key.id)).toMatchObject({
        code: 0,
        stdout: `key ${key.id} revoked\n`,
      });
    expect((await muster('key', 'list')).stdout).not.toContain(key.id);
    expect((await muster('key', 'list', '--all')).stdout).toMatch(
      new RegExp(`${key.id}\\s+leaver\\s+revoked`),
    );
  });

  test('rotate gives another key with the same rights, and says what becomes of the old one', async () => {
    const old = await created('svc', '--tenant', 'acme');
    const answer = await muster('key', 'rotate', old.id, '--grace', '1h');
    expect(answer.stdout.trim()).toMatch(keyPattern);
    expect(answer.stderr).toContain(`The key ${old.id} works for 1h more.`);
    expect((await muster('key', 'list', '-o', 'yaml')).stdout).toContain(`rotatedFrom: ${old.id}`);
  });

  test('create makes no key that it could not show', async () => {
    expect(await muster('key', 'create', 'unseen', '-o', 'xml')).toMatchObject({ code: 2, stdout: '' });
    expect((await muster('key', 'list', '--all')).stdout).not.toContain('unseen');
  });

  test.each([
    [['key', 'create'], 2, 'name'],
    [['key', 'create', 'x', '--tier', 'urgent'], 5, 'tier must be one of'],
    [['key', 'create', 'x', '--expires', 'soon'], 2, '--expires soon is not a duration'],
    [['key', 'create', 'x', '--model', 'a/b/c'], 5, 'models[0]'],
    [['key', 'revoke', 'nobody'], 4, 'There is no key nobody'],
    [['key', 'list', '-o', 'xml'], 2, 'xml'],
    [['key', 'destroy'], 2, 'destroy'],
  ])('%j fails with %i, in one plain line', async (args, code, says) => {
    const answer = await muster(...args);
    expect(answer.code).toBe(code);
    expect(answer.stderr).toContain(says);
    expect(answer.stderr).not.toMatch(/\n\s+at /);
  });

  test('the table has one line a key', () => {
    const now = new Date('2026-01-02T00:00:00Z');
    const base = {
      ...{
        id: 'abc',
        name: 'Ann',
        tenant: 'acme',
        tier: 'high' as const,
        namespace: null,
        rotatedFrom: null,
      },
      ...{
        scopes: ['infer' as const],
        models: ['a/*', 'b/c'],
        createdAt: '2026-01-01T00:00:00Z',
        revokedAt: null,
      },
    };
    const text = keyTable(
      [
        { ...base, expiresAt: null, state: 'active' },
        { ...base, expiresAt: '2026-01-04T00:00:00Z', state: 'active' },
        { ...base, expiresAt: '2026-01-01T12:00:00Z', state: 'expired' },
      ],
      now,
    );
    expect(text.split('\n').map((line) => line.split(/ {2,}/).slice(-3))).toEqual([
      ['MODELS', 'EXPIRES', 'AGE'],
      ['a/*,b/c', 'never', '1d'],
      ['a/*,b/c', 'in 2d', '1d'],
      ['a/*,b/c', '2026-01-01T12:00:00Z', '1d'],
    ]);
  });
});

describe('the policy of the gateways as a manifest', () => {
  const write = (spec: string) => {
    file(
      'policy.yaml',
      `apiVersion: muster.dev/v1alpha1\nkind: GatewayPolicy\nmetadata: {name: default}\nspec: ${spec}\n`,
    );
  };

  test('is applied, listed, shown as it was written, and deleted, like any other', async () => {
    write('{access: {mode: required}}');
    expect((await muster('apply', '-f', 'policy.yaml')).stdout).toBe('gatewaypolicies/default created\n');
    expect((await muster('deploy', '-f', 'policy.yaml')).stdout).toBe('gatewaypolicies/default unchanged\n');
    expect((await muster('get', 'gatewaypolicy')).stdout).toMatch(/default\s+required\s+access/);
    const shown = parse((await muster('get', 'policy', 'default', '-o', 'yaml')).stdout) as { spec: unknown };
    expect(shown.spec).toEqual({ access: { mode: 'required' } });
    expect((await muster('describe', 'gatewaypolicy', 'default')).stdout).toContain('mode: required');
    expect((await muster('delete', 'gatewaypolicy', 'default')).code).toBe(0);
    expect((await muster('get', 'gatewaypolicy', 'default')).code).toBe(4);
  });

  test('that is wrong is refused by its field, and changes nothing', async () => {
    write('{access: {mode: closed}}');
    const answer = await muster('apply', '-f', 'policy.yaml');
    expect(answer.code).toBe(5);
    expect(answer.stderr).toContain('spec.access.mode must be one of "open", "required", not "closed"');
    expect((await muster('get', 'gatewaypolicy')).stderr).toContain('No GatewayPolicy was found');
  });
});
