import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

interface Package {
  readonly version: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
}
type Packages = Record<string, Package>;
// By its address: a script of plain JavaScript has no types to import.
const script = new URL('../../.config/install.mjs', import.meta.url).href;
const { neededInstall } = (await import(script)) as {
  neededInstall(root: string, dev: boolean): { reason: string; dev: boolean } | null;
};

const lock: Packages = {
  'node_modules/a': { version: '1.0.0' },
  'node_modules/t': { version: '2.0.0', dev: true },
};
const { 'node_modules/a': a, 'node_modules/t': t } = lock as Record<
  'node_modules/a' | 'node_modules/t',
  Package
>;

describe('whether npm install is needed', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'muster-install-'));
  });
  afterEach(() => {
    rmSync(root, { recursive: true, force: true });
  });
  const write = (path: string, text: string, mode = 0o644) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text, { mode });
  };
  const json = (packages: Packages) => JSON.stringify({ packages: { '': {}, ...packages } });

  test.each<{
    name: string;
    wanted?: Packages;
    present: Packages | null;
    dev?: boolean;
    needs: object | null;
  }>([
    { name: 'a fresh clone installs what running needs', present: null, needs: { dev: false } },
    {
      name: 'a fresh clone that is to be tested installs all',
      present: null,
      dev: true,
      needs: { dev: true },
    },
    { name: 'all that running needs is there', present: { 'node_modules/a': a }, needs: null },
    {
      name: 'tests need more',
      present: { 'node_modules/a': a },
      dev: true,
      needs: { reason: 'packages for tests are missing', dev: true },
    },
    { name: 'a start never prunes a developer', present: lock, needs: null },
    { name: 'a changed version', present: { 'node_modules/a': { version: '0.9.0' } }, needs: { dev: false } },
    {
      name: 'a changed version keeps the packages for tests',
      present: { ...lock, 'node_modules/a': { version: '0.9.0' } },
      needs: { dev: true },
    },
    {
      name: "another platform's optional package is not missed",
      wanted: { ...lock, 'node_modules/o': { version: '1.0.0', optional: true } },
      present: { 'node_modules/a': a },
      needs: null,
    },
  ])('$name', ({ wanted = lock, present, dev = false, needs }) => {
    write('package-lock.json', json(wanted));
    if (present !== null) {
      write('node_modules/.package-lock.json', json(present));
      for (const path of Object.keys(present)) mkdirSync(join(root, path), { recursive: true });
    }
    write('node_modules/.bin/node', '#!/bin/sh\necho v26.0.0\n', 0o755);
    const needed = neededInstall(root, dev);
    if (needs === null) expect(needed).toBeNull();
    else expect(needed).toMatchObject(needs);
  });

  test('the pinned node is missing', () => {
    write('package-lock.json', json({ 'node_modules/a': a }));
    write('node_modules/.package-lock.json', json({ 'node_modules/a': a, 'node_modules/t': t }));
    mkdirSync(join(root, 'node_modules/a'));
    expect(neededInstall(root, false)?.reason).toContain('Node');
  });

  test('a broken lock file is said to be one', () => {
    write('package-lock.json', '{');
    expect(() => neededInstall(root, false)).toThrow(/package-lock\.json is missing or broken/);
  });
});
