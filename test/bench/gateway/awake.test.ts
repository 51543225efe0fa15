import { describe, expect, test } from '@jest/globals';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keepAwake } from '../../../bench/gateway/awake.ts';

describe('CPUs that the bench keeps awake', () => {
  test('the system is asked for wake-ups of no microseconds, as a 32-bit number', () => {
    const folder = mkdtempSync(join(tmpdir(), 'muster-awake-'));
    const device = join(folder, 'cpu_dma_latency');
    writeFileSync(device, '');
    expect(keepAwake(device)).toBeNull();
    expect([...readFileSync(device)]).toEqual([0, 0, 0, 0]);
    rmSync(folder, { recursive: true });
  });

  test('where it cannot be asked the reason is told', () => {
    expect(keepAwake('/nowhere/cpu_dma_latency')).toMatch(/ENOENT.*cpu_dma_latency/);
  });
});
