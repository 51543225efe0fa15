import { afterAll, describe, expect } from '@jest/globals';
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { requirePart } from '../fixtures/require.ts';
import { hasProc, hasTemporal, temporalPath } from './machine.ts';
import type { Stack } from './stack.ts';
import { createStack } from './stack.ts';
import { irisRequest } from './traffic.ts';

const whole = requirePart(
  'a Temporal server, and /proc',
  hasTemporal() && hasProc(),
  'the stack needs a Temporal server',
);

describe('a machine without python3', () => {
  let stack: Stack;
  let bin: string;

  afterAll(async () => {
    await stack.dispose();
    rmSync(bin, { recursive: true, force: true });
  }, 60_000);

  whole(
    'serves iris all the same, and says what is missing for the rest',
    async () => {
      bin = mkdtempSync(join(tmpdir(), 'muster-bin-'));
      for (const folder of ['/usr/bin', '/bin']) {
        for (const name of readdirSync(folder)) {
          if (/^(python|pip|temporal)/.test(name)) continue;
          try {
            symlinkSync(join(folder, name), join(bin, name));
          } catch {
            // both folders may be one
          }
        }
      }
      symlinkSync(temporalPath(), join(bin, 'temporal'));
      stack = await createStack({ PATH: `${join(process.cwd(), 'node_modules/.bin')}:${bin}` });
      stack.start('--samples');
      await stack.waitReady('iris', 120_000);
      const answer = await fetch(`${stack.gatewayUrl}/v2/models/iris/infer`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(irisRequest),
      });
      expect(answer.status).toBe(200);
      const blocked = await stack.waitFor(
        'tiny-llm',
        (o) => o.status?.modelStatus?.transitionStatus === 'BlockedByFailedLoad',
        'blocked for want of python3',
      );
      expect(blocked.status?.modelStatus?.lastFailureInfo?.message).toMatch(/python3/);
      const until = Date.now() + 30_000;
      while (!stack.output().includes('python3') && Date.now() < until)
        await new Promise((r) => setTimeout(r, 200));
      expect(stack.output()).toMatch(/python3/);
      expect(await stack.interrupt()).toBe(0);
    },
    240_000,
  );
});
