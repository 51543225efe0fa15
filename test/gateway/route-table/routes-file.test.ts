import { appendFile, mkdtemp, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { pino } from 'pino';
import type { RouteTable } from '../../../domain/route-table/route-table.schema.ts';
import { RoutesFileError, RoutesFileSource, readRoutes } from '../../../gateway/route-table/routes-file.ts';
import { until } from '../../fixtures/gateway/control-api.ts';

const routes = (name: string, more = '') =>
  `services:\n  - name: ${name}\n    endpoints: [http://127.0.0.1:1]\n${more}`;

describe('reading routes', () => {
  test.each([
    ['YAML that is none', 'r.yaml', 'a: [', /^The routes file r\.yaml is not YAML: .+\.$/],
    ['JSON that is none', 'r.json', '{"services": [}', /^The routes file r\.json is not JSON: .+\.$/],
    [
      'a wrong field',
      'r.yaml',
      routes('m').replace('http:', 'ftp:'),
      /is wrong at services\.0\.endpoints\.0\.address: must be/,
    ],
    ['an unknown field', 'r.yaml', `${routes('m')}polcy: {}\n`, /is wrong at its top: .*polcy/],
    [
      'two services of one name',
      'r.yaml',
      `${routes('m')}  - name: m\n`,
      /is wrong at services: two services are called default\/m\.$/,
    ],
    ['an empty file', 'r.yaml', '', /is wrong at its top: /],
    ['YAML bombs', 'r.yaml', bomb(), /is not YAML: /],
  ])('says in one sentence what is wrong with %s', (_what, path, text, sentence) => {
    const read = () => readRoutes(path, text, 1);
    expect(read).toThrow(RoutesFileError);
    expect(read).toThrow(sentence);
    expect(read).not.toThrow(/\n/);
  });

  test('takes JSON in a .yaml file, too', () => {
    const text = JSON.stringify({ services: [{ name: 'm', endpoints: ['http://127.0.0.1:1'] }] });
    expect(readRoutes('r.yaml', text, 1)).toEqual(readRoutes('r.json', text, 1));
  });
});

describe('a routes file that changes', () => {
  let folder: string;
  let path: string;
  let source: RoutesFileSource;
  let tables: RouteTable[];
  let refusals: string[];
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'muster-routes-file-'));
    path = join(folder, 'routes.yaml');
    await writeFile(path, routes('one'));
    tables = [];
    refusals = [];
    source = new RoutesFileSource({
      path,
      logger: pino({ level: 'silent' }),
      onTable: (table) => tables.push(table),
      onRefused: (why) => refusals.push(why),
      pollMs: 5,
    });
    await source.first();
    source.follow();
  });
  afterEach(async () => {
    await source.stop();
    await rm(folder, { recursive: true });
  });
  const names = () => tables.map(({ services }) => services[0]?.name);

  test('is in effect when it was written in place', async () => {
    await writeFile(path, routes('two'));
    await until(() => names().at(-1) === 'two');
  });

  test('is in effect when another was moved into its place', async () => {
    await writeFile(`${path}.new`, routes('two'));
    await rename(`${path}.new`, path);
    await until(() => names().at(-1) === 'two');
  });

  test('is in effect when it is a link that now leads elsewhere, as with a mounted ConfigMap', async () => {
    await writeFile(join(folder, 'a'), routes('two'));
    await unlink(path);
    await symlink(join(folder, 'a'), path);
    await until(() => names().at(-1) === 'two');
  });

  test('is in effect when it changes again within the grain of its time stamp, at the same length', async () => {
    for (const name of ['aaa', 'bbb', 'ccc']) {
      await writeFile(path, routes(name));
      await until(() => names().at(-1) === name);
    }
  });

  test('is refused whole while it is wrong, once for each wrong text, and taken again when mended', async () => {
    await writeFile(path, 'services: 5');
    await until(() => refusals.length === 1);
    await unlink(path);
    await until(() => refusals.length === 2);
    expect(refusals[1]).toContain('there is no such file');
    expect(names()).toEqual(['one']);
    await writeFile(path, routes('two'));
    await until(() => names().at(-1) === 'two');
    expect(refusals).toHaveLength(2);
  });

  test('does nothing when only its time changes', async () => {
    await writeFile(path, routes('one'));
    await writeFile(path, routes('two'));
    await until(() => names().at(-1) === 'two');
    expect(names()).toEqual(['one', 'two']);
  });

  test('gives each table the version of its own time, or that of the file', async () => {
    await writeFile(path, routes('two', 'version: 5\n'));
    await until(() => names().at(-1) === 'two');
    expect(tables[0]?.version).toBeGreaterThan(5);
    expect(tables.at(-1)?.version).toBe(5);
  });

  test('may be left alone at any moment, also while it is looked at: nobody waits for another look', async () => {
    let isFollowing = false;
    let stopped: Promise<void> | undefined;
    const other: RoutesFileSource = new RoutesFileSource({
      path,
      logger: pino({ level: 'silent' }),
      onTable: () => {
        if (isFollowing) stopped = other.stop();
      },
      onRefused: () => undefined,
      pollMs: 50,
    });
    await other.first();
    const timers = jest.spyOn(globalThis, 'setTimeout');
    try {
      other.follow();
      isFollowing = true;
      await writeFile(path, routes('three'));
      await until(() => stopped !== undefined);
      const made = timers.mock.calls.filter(([, ms]) => ms === 50).length;
      await stopped;
      expect(timers.mock.calls.filter(([, ms]) => ms === 50)).toHaveLength(made);
    } finally {
      timers.mockRestore();
    }
  });
});

describe('a routes file that is written in parts', () => {
  let folder: string;
  let path: string;
  let source: RoutesFileSource;
  let tables: RouteTable[];
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'muster-routes-file-'));
    path = join(folder, 'routes.yaml');
    await writeFile(path, `${routes('one')}${closed}`);
    tables = [];
    source = new RoutesFileSource({
      path,
      logger: pino({ level: 'silent' }),
      onTable: (table) => tables.push(table),
      onRefused: () => undefined,
    });
    await source.first();
  });
  afterEach(() => rm(folder, { recursive: true }));
  const closed = 'policy:\n  access: {mode: required}\n';
  const seen = () => tables.map(({ services, policy }) => [services[0]?.name, policy?.access.mode]);

  test('is not in effect before two looks found the same', async () => {
    await writeFile(path, routes('two'));
    await source.look();
    await appendFile(path, '# more is to come\n');
    await source.look();
    await appendFile(path, closed);
    await source.look();
    expect(seen()).toEqual([['one', 'required']]);
    await source.look();
    await source.look();
    expect(seen()).toEqual([
      ['one', 'required'],
      ['two', 'required'],
    ]);
  });

  test('is not refused for what it lacks so far', async () => {
    await writeFile(path, 'services: [');
    await source.look();
    await appendFile(path, ']\n');
    await source.look();
    await source.look();
    expect(seen()).toEqual([
      ['one', 'required'],
      [undefined, undefined],
    ]);
  });

  test('is as it was when it comes back to that between two looks', async () => {
    await writeFile(path, routes('two'));
    await source.look();
    await writeFile(path, `${routes('one')}${closed}`);
    await source.look();
    await writeFile(path, routes('two'));
    await source.look();
    expect(seen()).toEqual([['one', 'required']]);
  });

  test('is in effect after two looks also when it has not been touched for long', async () => {
    await writeFile(path, routes('two'));
    const later = Date.now() + 60_000;
    const clock = jest.spyOn(Date, 'now').mockReturnValue(later);
    await source.look();
    await source.look();
    clock.mockRestore();
    expect(seen().at(-1)).toEqual(['two', undefined]);
  });
});

/** Each line ten times the one before. */
function bomb(): string {
  const lines = ['a0: &a0 [x]'];
  for (let at = 1; at < 9; at += 1) {
    lines.push(`a${at}: &a${at} [${Array.from({ length: 10 }, () => `*a${at - 1}`).join(', ')}]`);
  }
  return lines.join('\n');
}
