import { afterAll, describe, expect, test } from '@jest/globals';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keepAwake } from '../../../bench/gateway/awake.ts';

describe('CPUs that the bench keeps awake', () => {
  const folder = mkdtempSync(join(tmpdir(), 'muster-awake-'));
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const driver = file('current_driver', 'haltpoll\n');
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  test('are where the system has a device for it, which takes what is written', () => {
    expect(keepAwake({ device: '/dev/null', driver })).toBeNull();
  });

  test('are not where the device is missing, and none is made', () => {
    const device = join(folder, 'cpu_dma_latency');
    expect(keepAwake({ device, driver })).toMatch(/ENOENT.*cpu_dma_latency/);
    expect(existsSync(device)).toBe(false);
  });

  test('are not by a plain file, which stays as it is', () => {
    const device = file('plain', 'mine');
    expect(keepAwake({ device, driver })).toMatch(/no device/);
    expect(readFileSync(device, 'utf8')).toBe('mine');
  });

  test('are not where nothing governs their sleep', () => {
    expect(keepAwake({ device: '/dev/null', driver: file('none', 'none\n') })).toMatch(/says none/);
    expect(keepAwake({ device: '/dev/null', driver: join(folder, 'missing') })).toMatch(/ENOENT/);
  });
});
