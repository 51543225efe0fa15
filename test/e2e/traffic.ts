import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../domain/errors.ts';

export interface TrafficResult {
  readonly sent: number;
  readonly failures: readonly string[];
}

/** Sends one request after another until stopped, and keeps what went wrong. */
export function startTraffic(
  gatewayUrl: string,
  path: string,
  body: unknown,
): { failuresSoFar(): number; stop(): Promise<TrafficResult> } {
  const running = { on: true };
  let sent = 0;
  const failures: string[] = [];
  const done = (async () => {
    while (running.on) {
      sent += 1;
      try {
        const answer = await fetch(`${gatewayUrl}${path}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(body),
          signal: AbortSignal.timeout(60_000),
        });
        const text = await answer.text();
        if (!answer.ok) failures.push(`${answer.status} ${text.slice(0, 300)}`);
      } catch (error) {
        failures.push(`${messageOf(error)}: ${messageOf((error as Error).cause)}`);
      }
      await sleep(5);
    }
  })();
  return {
    failuresSoFar: () => failures.length,
    async stop() {
      running.on = false;
      await done;
      return { sent, failures };
    },
  };
}

export const irisRequest = {
  inputs: [{ name: 'X', shape: [1, 4], datatype: 'FP32', data: [5.1, 3.5, 1.4, 0.2] }],
};
export const chatRequest = {
  model: 'tiny-llm',
  messages: [{ role: 'user', content: 'And the LORD said unto' }],
  max_tokens: 8,
};
