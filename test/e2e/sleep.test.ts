import { afterEach, beforeEach, describe, expect } from '@jest/globals';
import { requirePart } from '../fixtures/require.ts';
import { hasProc, hasTemporal } from './machine.ts';
import type { Stack } from './stack.ts';
import { createStack } from './stack.ts';
import { irisRequest } from './traffic.ts';

const whole = requirePart(
  'a Temporal server, and /proc',
  hasTemporal() && hasProc(),
  'the stack needs a Temporal server',
);

describe('a service that sleeps, in the whole stack', () => {
  let stack: Stack;
  beforeEach(async () => {
    stack = await createStack();
  });
  afterEach(async () => {
    await stack.cli('down');
    await stack.dispose();
  }, 60_000);

  whole(
    'is woken by a request, which waits and is answered like any other',
    async () => {
      expect((await stack.cli('up', '--detach')).code).toBe(0);
      const deploy = ['deploy', 'iris', '--model', 'deploy/samples/models/iris', '--format', 'onnx'];
      expect((await stack.cli(...deploy, '--wait')).code).toBe(0);
      const ask = async () => {
        const answer = await fetch(`${stack.gatewayUrl}/v2/models/iris/infer`, {
          method: 'POST',
          body: JSON.stringify(irisRequest),
        });
        return { status: answer.status, text: await answer.text() };
      };
      const awake = await ask();
      expect(awake.status).toBe(200);

      for (let turn = 0; turn < 2; turn += 1) {
        expect((await stack.cli('sleep', 'iris')).code).toBe(0);
        const until = Date.now() + 60_000;
        let listed = '';
        while (!listed.includes('Asleep') && Date.now() < until)
          listed = (await stack.cli('describe', 'iris')).stdout;
        expect(listed).toContain('Asleep');
        const answers = await Promise.all([ask(), ask(), ask()]);
        for (const answer of answers) expect(answer.status).toBe(200);
      }
      const events = (await stack.cli('describe', 'iris')).stdout;
      expect(events).toContain('Activated');
    },
    240_000,
  );
});
