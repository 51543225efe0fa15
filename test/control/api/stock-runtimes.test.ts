import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { importStockRuntimes } from '../../../control/api/stock-runtimes.ts';
import type { Store } from '../../../control/store/store.ts';
import { openTemporaryStore } from '../../fixtures/control/api-harness.ts';
import { clusterRuntime } from '../../fixtures/control/manifests.ts';

const shipped = fileURLToPath(new URL('../../../deploy/runtimes/', import.meta.url));

describe('importStockRuntimes', () => {
  let store: Store;
  let close: () => Promise<void>;
  let folder: string;
  beforeAll(async () => {
    ({ store, close } = await openTemporaryStore());
  });
  afterAll(async () => {
    await close();
  });
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'muster-stock-'));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  const ship = (name: string, format: string) =>
    writeFile(join(folder, `${name}.yaml`), JSON.stringify(clusterRuntime(name, format)));
  const start = (from = folder) =>
    importStockRuntimes(store.runtimes, from, pino({ level: 'silent' }), '2026-01-01T00:00:00Z');
  const formatOf = async (name: string) =>
    (await store.runtimes.get(null, name))?.spec.supportedModelFormats?.[0]?.name;

  test('what ships comes in at the first start, and a second start changes nothing', async () => {
    const first = await start(shipped);
    expect(first.created).toContain('muster-onnx');
    const version = await store.runtimes.version();
    expect(await start(shipped)).toEqual({ created: [], updated: [], left: [] });
    expect(await store.runtimes.version()).toBe(version);
  });

  test('one that nobody changed follows a newer Muster', async () => {
    await ship('follows', 'onnx');
    await start();
    await ship('follows', 'sklearn');
    expect(await start()).toMatchObject({ updated: ['follows'] });
    expect(await formatOf('follows')).toBe('sklearn');
    expect(await start()).toEqual({ created: [], updated: [], left: [] });
  });

  test('one that a user changed is left alone, whatever ships later', async () => {
    await ship('changed', 'onnx');
    await start();
    const stored = await store.runtimes.get(null, 'changed');
    await store.runtimes.put({ ...stored!, spec: { ...stored!.spec, disabled: true } });
    await ship('changed', 'sklearn');
    expect(await start()).toMatchObject({ left: ['changed'] });
    expect(await formatOf('changed')).toBe('onnx');
  });

  test("one of a user's own that has the name of a stock one is left alone", async () => {
    await store.runtimes.put(clusterRuntime('own', 'xgboost'));
    await ship('own', 'onnx');
    expect(await start()).toMatchObject({ created: [], left: ['own'] });
    expect(await formatOf('own')).toBe('xgboost');
  });

  test('one that a user deleted does not come back', async () => {
    await ship('deleted', 'onnx');
    await start();
    await store.runtimes.remove(null, 'deleted');
    expect(await start()).toMatchObject({ created: [], left: ['deleted'] });
    expect(await store.runtimes.get(null, 'deleted')).toBeNull();
  });

  test('a wrong file is named with its wrong field', async () => {
    await writeFile(
      join(folder, 'wrong.yaml'),
      JSON.stringify({ ...clusterRuntime('wrong', 'onnx'), kind: 'Pod' }),
    );
    await expect(start()).rejects.toThrow(
      /wrong\.yaml is wrong: kind must be "ClusterServingRuntime", not "Pod"/,
    );
  });
});
