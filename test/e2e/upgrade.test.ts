import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { Client, Connection } from '@temporalio/client';
import { appendFileSync, cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lifecycle } from '../../domain/inference-service/messages.ts';
import { requirePart } from '../fixtures/require.ts';
import { hasProc, hasTemporal } from './machine.ts';
import type { Stack } from './stack.ts';
import { createStack, root } from './stack.ts';

const whole = requirePart(
  'a Temporal server, and /proc',
  hasTemporal() && hasProc(),
  'the stack needs a Temporal server',
);

describe('a new build on an old data folder', () => {
  let stack: Stack;
  let next: string;

  beforeAll(async () => {
    stack = await createStack();
    next = mkdtempSync(join(tmpdir(), 'muster-next-build-'));
    for (const folder of [
      'activities',
      'control',
      'deploy',
      'domain',
      'gateway',
      'runtime',
      'workers',
      'workflows',
      'package.json',
      'tsconfig.json',
    ])
      cpSync(join(root, folder), join(next, folder), { recursive: true });
    symlinkSync(join(root, 'node_modules'), join(next, 'node_modules'));
    // A harmless change of replayed code: another bundle, hence another build id.
    appendFileSync(join(next, 'workflows/inference-service.ts'), "\nexport const nextBuild = 'next';\n");
  }, 60_000);
  afterAll(async () => {
    await stack.dispose();
    rmSync(next, { recursive: true, force: true });
  }, 60_000);

  /** The build id whose worker ran the entity's newest workflow task, and how many runs it has had. */
  async function entity(): Promise<{ buildId: string | undefined; runId: string }> {
    const connection = await Connection.connect({ address: stack.temporalAddress });
    try {
      const client = new Client({ connection });
      const { raw, runId } = await client.workflow
        .getHandle(lifecycle.workflowId('default', 'iris'))
        .describe();
      return {
        buildId: raw.workflowExecutionInfo?.versioningInfo?.deploymentVersion?.buildId ?? undefined,
        runId,
      };
    } finally {
      await connection.close();
    }
  }

  whole(
    'lets the running service go on under the new version',
    async () => {
      stack.start();
      const deploy = [
        'deploy',
        'iris',
        '--model',
        join(root, 'deploy/samples/models/iris'),
        '--format',
        'onnx',
        '--wait',
      ];
      const until = Date.now() + 60_000;
      let deployed = await stack.cli(...deploy);
      while (deployed.code !== 0 && Date.now() < until) deployed = await stack.cli(...deploy);
      expect(deployed.code).toBe(0);
      const before = await entity();
      expect(before.buildId).toMatch(/^[0-9a-f]{12}$/);
      expect(await stack.interrupt()).toBe(0);

      stack.startFrom(next);
      await stack.waitReady('iris', 120_000);
      expect((await stack.cli('stop', 'iris')).code).toBe(0);
      await stack.waitFor(
        'iris',
        (o) => o.status?.conditions?.some((c) => c.type === 'Stopped' && c.status === 'True') ?? false,
        'stopped',
      );
      expect((await stack.cli('start', 'iris')).code).toBe(0);
      await stack.waitReady('iris', 120_000);
      const after = await entity();
      expect(after.runId).toBe(before.runId);
      expect(after.buildId).toMatch(/^[0-9a-f]{12}$/);
      expect(after.buildId).not.toBe(before.buildId);
      expect(await stack.interrupt()).toBe(0);
    },
    300_000,
  );
});
