import type { Context } from '../context.ts';
import { waitUntilReady } from '../apply.ts';
import { inferenceService, pathOf } from '../kinds.ts';
import { durationOf } from '../duration.ts';

export interface StartOptions {
  readonly wait?: boolean;
  readonly timeout: string;
}

/** `muster stop NAME`: the servers end, the spec stays. */
export async function stop(context: Context, name: string): Promise<void> {
  await context.api.send('POST', `${pathOf(inferenceService, context.namespace, name)}/stop`);
  context.print(`inferenceservices/${name} stopping`);
}

/** `muster sleep NAME`: the servers end, and the next request brings them back. */
export async function sleep(context: Context, name: string): Promise<void> {
  await context.api.send('POST', `${pathOf(inferenceService, context.namespace, name)}/sleep`);
  context.print(`inferenceservices/${name} going to sleep; a request wakes it`);
}

/** `muster start NAME`: what was stopped, or sleeps, comes up again. */
export async function start(context: Context, name: string, options: StartOptions): Promise<void> {
  const timeoutMs = durationOf('--timeout', options.timeout);
  await context.api.send('POST', `${pathOf(inferenceService, context.namespace, name)}/start`);
  context.print(`inferenceservices/${name} starting`);
  if (options.wait !== true) return;
  await waitUntilReady(context.api, { namespace: context.namespace, name }, timeoutMs, (message) => {
    context.note(`${name}: ${message}`);
  });
}
