import { afterEach, beforeEach, describe, expect } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { requirePart } from '../fixtures/require.ts';
import { hasProc, hasTemporal } from './machine.ts';
import { pidOf, processesOf } from './processes.ts';
import type { Stack } from './stack.ts';
import { createStack, kill } from './stack.ts';

const whole = requirePart(
  'a Temporal server, and /proc',
  hasTemporal() && hasProc(),
  'the stack needs a Temporal server',
);

describe('muster in the background', () => {
  let stack: Stack;
  beforeEach(async () => {
    stack = await createStack();
  });
  afterEach(async () => {
    await stack.dispose();
  }, 60_000);

  whole(
    'up --detach returns once all is up, status tells of it, down leaves nothing',
    async () => {
      const up = await stack.cli('up', '--detach');
      expect(up).toMatchObject({ code: 0 });
      expect(up.stdout).toContain(stack.gatewayUrl);
      const status = await stack.cli('status');
      expect(status.code).toBe(0);
      for (const name of ['api', 'worker', 'observer', 'agent', 'gateway', 'temporal'])
        expect(status.stdout).toMatch(new RegExp(`^${name} +running`, 'm'));
      const json = JSON.parse((await stack.cli('status', '-o', 'json')).stdout) as object;
      expect(JSON.stringify(json)).toContain('"reachable":true');
      expect((await stack.cli('up', '--detach')).code).toBe(3);
      expect((await stack.cli('down')).code).toBe(0);
      expect(processesOf(stack.dataDir)).toEqual([]);
      expect((await stack.cli('status')).code).not.toBe(0);
      expect((await stack.cli('get')).code).toBe(6);
    },
    180_000,
  );

  whole(
    'down also ends what a killed parent left',
    async () => {
      expect((await stack.cli('up', '--detach')).code).toBe(0);
      kill(pidOf(stack.dataDir, 'parent')!);
      expect((await stack.cli('down')).code).toBe(0);
      // The leash's own `sleep 1` may outlive it by that second.
      const until = Date.now() + 3000;
      while (processesOf(stack.dataDir).length > 0 && Date.now() < until) await sleep(100);
      expect(processesOf(stack.dataDir)).toEqual([]);
    },
    180_000,
  );

  whole(
    'with Temporal away changes are refused plainly, and reading goes on',
    async () => {
      const deploy = ['deploy', 'iris', '--model', 'deploy/samples/models/iris', '--format', 'onnx'];
      expect((await stack.cli('up', '--detach')).code).toBe(0);
      expect((await stack.cli(...deploy, '--wait')).code).toBe(0);
      // Its leash is stopped first, so that nobody starts it again.
      for (const { pid, command } of processesOf(stack.dataDir))
        if (command.includes('muster-leash')) kill(pid, 'SIGSTOP');
      kill(pidOf(stack.dataDir, 'temporal')!);
      const refused = await stack.cli('stop', 'iris');
      expect(refused.code).toBe(6);
      expect(refused.stderr).toMatch(/Temporal/);
      expect((await stack.cli('get')).stdout).toMatch(/iris .*True/);
      for (const { pid, command } of processesOf(stack.dataDir))
        if (command.includes('muster-leash')) kill(pid, 'SIGCONT');
    },
    180_000,
  );
});
