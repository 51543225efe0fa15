import type { Context } from '../context.ts';
import { waitUntilGone } from '../apply.ts';
import { CliError, exitCodes } from '../exit-codes.ts';
import { inferenceService, pathOf, type Kind } from '../kinds.ts';
import { readManifests } from '../manifests.ts';
import { durationOf } from '../duration.ts';
import { target } from './get.ts';

export interface DeleteOptions {
  readonly file?: readonly string[];
  readonly wait?: boolean;
  readonly timeout: string;
}

interface Doomed {
  readonly kind: Kind;
  readonly namespace: string;
  readonly name: string;
}

/** `muster delete [KIND] NAME` or `muster delete -f FILE`. */
export async function remove(
  context: Context,
  words: readonly string[],
  options: DeleteOptions,
): Promise<void> {
  const timeoutMs = durationOf('--timeout', options.timeout);
  const doomed = await doomedOf(context, words, options);
  for (const { kind, namespace, name } of doomed) {
    await context.api.send('DELETE', pathOf(kind, namespace, name));
    context.print(`${kind.plural}/${name} deleted`);
  }
  if (options.wait !== true) return;
  for (const object of doomed.filter((d) => d.kind === inferenceService)) {
    await waitUntilGone(context.api, object, timeoutMs);
  }
}

async function doomedOf(
  context: Context,
  words: readonly string[],
  options: DeleteOptions,
): Promise<readonly Doomed[]> {
  if (options.file !== undefined) return readManifests(options.file, context.namespace, context.io);
  const { kind, name } = target(words);
  if (name === undefined) throw new CliError('Give the NAME of what to delete, or -f FILE.', exitCodes.usage);
  return [{ kind, name, namespace: context.namespace }];
}
