import type { Context } from '../context.ts';
import { CliError, exitCodes } from '../exit-codes.ts';
import { inferenceService, pathOf } from '../kinds.ts';

export interface LogOptions {
  readonly follow?: boolean;
  readonly tail?: string;
}

/** `muster logs [-f] [--tail N] NAME`: what the model servers of a service wrote. */
export async function logs(context: Context, name: string, options: LogOptions): Promise<void> {
  const query = new URLSearchParams();
  if (options.follow === true) query.set('follow', 'true');
  if (options.tail !== undefined) {
    if (!/^\d+$/.test(options.tail)) throw new CliError('--tail wants a number of lines.', exitCodes.usage);
    query.set('tail', options.tail);
  }
  const path = `${pathOf(inferenceService, context.namespace, name)}/logs?${query.toString()}`;
  for await (const chunk of await context.api.stream(path)) {
    if (!context.io.stdout.write(chunk)) {
      await new Promise((resolve) => context.io.stdout.once('drain', resolve));
    }
  }
}
